package index

import "math/bits"

// A record keeps its entries sorted and the order in which they were set
// beside them: order[k] is the place in the list of the k-th sorted entry.
// For up to maxCoded entries that is one number, the rank of the
// permutation in the factorial number system, in as few bytes as hold n!-1:
// 1 byte for 5 entries, 8 for 20. Beyond, it is a byte an entry.
const maxCoded = 20 // 20! < 1<<62

// orderSizes is the number of bytes for n up to maxCoded.
var orderSizes = func() (sizes [maxCoded + 1]uint8) {
	f := uint64(1)
	for n := range sizes {
		f *= uint64(max(n, 1))
		sizes[n] = uint8((bits.Len64(f-1) + 7) / 8)
	}
	return sizes
}()

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
	// The digit of k is how many of those behind k come before it.
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

// getOrder reads the permutation of len(order) places from src.
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
		// Those behind k are a permutation of fewer places: make room.
		for j := k + 1; j < n; j++ {
			if order[j] >= digit {
				order[j]++
			}
		}
		order[k] = digit
	}
}
