package gen

// A Source is where choices come from: a seeded *rand.Rand, or the Bytes of
// a fuzzer.
type Source interface {
	// IntN returns a number from 0 to n-1; n is positive.
	IntN(n int) int
}

// Bytes makes choices from the bytes of a fuzz input, so that a fuzzer which
// changes a byte changes a choice. When they are used up every choice is 0.
type Bytes struct{ data []byte }

// FromBytes returns a Source that reads data.
func FromBytes(data []byte) *Bytes { return &Bytes{data} }

// IntN uses one byte for n up to 256 and three for more.
func (b *Bytes) IntN(n int) int {
	width, x := 1, 0
	if n > 256 {
		width = 3
	}
	for range width {
		x <<= 8
		if len(b.data) > 0 {
			x |= int(b.data[0])
			b.data = b.data[1:]
		}
	}
	return x % n
}

// Left returns the number of bytes that are not used yet.
func (b *Bytes) Left() int { return len(b.data) }

func pick[T any](s Source, from ...T) T { return from[s.IntN(len(from))] }
