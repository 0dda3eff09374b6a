package index

import "math/bits"

// A record keeps its entries sorted and the order in which they were set
// beside them: order[k] is the place in the list of the k-th sorted entry.
// For up to maxRanked entries that is one number, the rank of the
// permutation in the factorial number system, in as few bytes as hold n!-1:
// 1 byte for 5 entries, 8 for 20. Beyond, it is a byte an entry.
const maxRanked = 20 // 20! < 1<<62

// rankSizes is the number of bytes for n up to maxRanked.
var rankSizes = func() (sizes [maxRanked + 1]uint8) {
	f := uint64(1)
	for n := range sizes {
		f *= uint64(max(n, 1))
		sizes[n] = uint8((bits.Len64(f-1) + 7) / 8)
	}
	return sizes
}()

func rankSize(n int) int {
	if n > maxRanked {
		return n
	}
	return int(rankSizes[n])
}

// putRank writes the permutation order to dst.
func putRank(dst []byte, order []uint8) {
	if len(order) > maxRanked {
		copy(dst, order)
		return
	}
	// The digit of k is how many of those behind k come before it.
	rank := uint64(0)
	for k, v := range order {
		digit := 0
		for _, w := range order[k+1:] {
			if w < v {
				digit++
			}
		}
		rank = rank*uint64(len(order)-k) + uint64(digit)
	}
	for i := range rankSize(len(order)) {
		dst[i] = byte(rank >> (8 * i))
	}
}

// getRank reads the permutation of len(order) places from src.
func getRank(order []uint8, src []byte) {
	n := len(order)
	if n > maxRanked {
		copy(order, src)
		return
	}
	rank := uint64(0)
	for i := range rankSize(n) {
		rank |= uint64(src[i]) << (8 * i)
	}
	for k := n - 1; k >= 0; k-- {
		digit := uint8(rank % uint64(n-k))
		rank /= uint64(n - k)
		// Those behind k are a permutation of fewer places: make room.
		for j := k + 1; j < n; j++ {
			if order[j] >= digit {
				order[j]++
			}
		}
		order[k] = digit
	}
}
