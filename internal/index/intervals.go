package index

import "math/bits"

// An intervals is a set of numbers: the addresses of one family that a long list contains; of IPv6
// addresses the upper halves. It answers membership only, in half the time of a trie, which also
// finds the entry. It is never written after finish.
//
//	points  the sorted ends of the intervals: where one begins, and the first number after it. A
//	        number is in the set if the number of points at or before it is odd. intervalPad
//	        copies of the largest number follow.
//	root    the range from the first point to the last is divided into parts of equal size;
//	        root[i] is how many points are before part i
type intervals[T uint32 | uint64] struct {
	points []T
	root   []uint32
	first  T
	width  T     // from the first point to the last, or to the largest number
	shift  uint8 // log2 of the size of a part
	top    bool  // the largest number is in the set
}

// intervalPad is how many points a search compares at once.
const intervalPad = 4

// rootLines limits the cache lines of a root whose parts have points in them: 1 MB, so that they
// stay in the cache and only the points come from memory. The limit is exceeded where a part would
// have more than eight points. The cells "Large" of benchmarks measure it.
const rootLines = 1 << 20 / lineSize

// add adds the interval from from to to, both included. Intervals are added in ascending order of
// their starts.
func (s *intervals[T]) add(from, to T) {
	n := len(s.points)
	switch {
	case n%2 == 1: // the last numbers of all are in the set
		return
	case n > 0 && from <= s.points[n-1]:
		if to+1 != 0 {
			s.points[n-1] = max(s.points[n-1], to+1)
			return
		}
		s.points = s.points[:n-1]
		return
	}
	s.points = append(s.points, from)
	if to+1 != 0 {
		s.points = append(s.points, to+1)
	}
}

// finish builds the root after the last add.
func (s *intervals[T]) finish() {
	n := len(s.points)
	s.top = n%2 == 1
	if s.top && s.points[n-1] == ^T(0) {
		// The largest number alone has no point: top says all of it, and a
		// width could not.
		n--
		s.points = s.points[:n]
	}
	if n == 0 {
		s.root, s.points = make([]uint32, 2), []T{^T(0), ^T(0), ^T(0), ^T(0)}
		return
	}
	s.first, s.width = s.points[0], s.points[n-1]-s.points[0]
	if n%2 == 1 {
		s.width = ^T(0) - 1 - s.first
	}
	if ^T(0)>>16>>16 == 0 && s.width>>30 != 0 {
		// Most long IPv4 lists reach over most of their range, and no check whether an
		// address lies in that part is mispredicted if the part is all.
		s.first, s.width = 0, ^T(0)-1
	}
	// About as many parts as points; fewer where the root would be too long.
	parts := bits.Len(uint(n))
	for few := parts - 3; ; parts-- {
		s.shift = uint8(max(bits.Len64(uint64(s.width))-parts, 0))
		if parts <= few || s.lines() <= rootLines {
			break
		}
	}
	s.root = make([]uint32, uint64(s.width>>s.shift)+2)
	for _, p := range s.points {
		s.root[(p-s.first)>>s.shift+1]++
	}
	for i := range len(s.root) - 1 {
		s.root[i+1] += s.root[i]
	}
	padded := append(make([]T, 0, n+intervalPad), s.points...)
	s.points = append(padded, ^T(0), ^T(0), ^T(0), ^T(0))
}

// lines returns how many cache lines of the root have parts with points.
func (s *intervals[T]) lines() (lines int) {
	const parts = lineSize / 4
	last := ^uint64(0)
	for _, p := range s.points {
		if line := uint64((p-s.first)>>s.shift) / parts; line != last {
			lines, last = lines+1, line
		}
	}
	return lines
}

// contains reports whether a is in the set.
func (s *intervals[T]) contains(a T) bool {
	if a-s.first > s.width || a == ^T(0) {
		return s.edge(a) == Allowed
	}
	i := (a - s.first) >> (s.shift & 63)
	root := s.root[i:][:2]
	k := int(root[0])
	for n := int(root[1]) - k; n > intervalPad; {
		half := n >> 1
		k += half & after(s.points[k+half-1], a)
		n -= half
	}
	// Points of other parts are after a, and so is the padding.
	p := s.points[k:][:intervalPad]
	k -= after(p[0], a) + after(p[1], a) + after(p[2], a) + after(p[3], a)
	return k&1 != 0
}

// edge is contains for the largest number and for numbers outside first to first+width.
func (s *intervals[T]) edge(a T) Verdict {
	if s.top && a == ^T(0) {
		return Allowed
	}
	return Denied
}

// after returns -1 if b is at or after a, and 0 otherwise.
func after[T uint32 | uint64](a, b T) int {
	_, less := bits.Sub64(uint64(b), uint64(a), 0)
	return int(less) - 1
}
