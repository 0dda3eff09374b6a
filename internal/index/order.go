package index

import "math/bits"

// A record keeps its entries sorted, and beside them the order in which they were set: order[k] is
// the index in the list of the k-th sorted entry. For up to maxCoded entries the permutation is
// stored as its Lehmer code, one number in the factorial number system (Knuth, TAOCP volume 2,
// section 3.3.2): 1 byte for 5 entries, 8 bytes for 20. Longer lists have a byte an entry.
const maxCoded = 20 // 20! < 1<<62

// orderSizes are the sizes of codes, in bytes, of n up to maxCoded entries.
var orderSizes = func() (sizes [maxCoded + 1]uint8) {
	f := uint64(1)
	for n := range sizes {
		f *= uint64(max(n, 1))
		sizes[n] = uint8((bits.Len64(f-1) + 7) / 8)
	}
	return sizes
}()

// orderSize returns the size of the order of n entries, in bytes.
func orderSize(n int) int {
	if n > maxCoded {
		return n
	}
	return int(orderSizes[n])
}

// putOrder writes the permutation order to dst.
func putOrder(dst []byte, order []uint8) {
	if len(order) > maxCoded {
		copy(dst, order)
		return
	}
	// The digit of k is how many of the elements after k are less.
	code := uint64(0)
	for k, v := range order {
		digit := 0
		for _, w := range order[k+1:] {
			if w < v {
				digit++
			}
		}
		code = code*uint64(len(order)-k) + uint64(digit)
	}
	for i := range orderSize(len(order)) {
		dst[i] = byte(code >> (8 * i))
	}
}

// getOrder reads a permutation of len(order) elements from src.
func getOrder(order []uint8, src []byte) {
	n := len(order)
	if n > maxCoded {
		copy(order, src)
		return
	}
	code := uint64(0)
	for i := range orderSize(n) {
		code |= uint64(src[i]) << (8 * i)
	}
	for k := n - 1; k >= 0; k-- {
		digit := uint8(code % uint64(n-k))
		code /= uint64(n - k)
		// The elements after k are a permutation of fewer numbers: make room.
		for j := k + 1; j < n; j++ {
			if order[j] >= digit {
				order[j]++
			}
		}
		order[k] = digit
	}
}
