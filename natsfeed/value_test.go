package natsfeed

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

func entriesOf(texts ...string) []ipallow.Entry {
	list := make([]ipallow.Entry, len(texts))
	for i, s := range texts {
		e, err := ipallow.ParseEntry(s)
		if err != nil {
			panic(err)
		}
		list[i] = e
	}
	return list
}

func TestValueRoundTrip(t *testing.T) {
	labelled := entriesOf("203.0.113.5", "203.0.113.0/24", "2001:db8::/48", "2001:db8::1", "0.0.0.0/0", "::/0", "198.51.100.128/25")
	labelled[1].Label, labelled[3].Label = "büro", strings.Repeat("x", 300)
	for name, v := range map[string]Value{
		"zero":      {},
		"meta only": {Meta: []byte(`{"hash":"00"}`)},
		"labels":    {Entries: labelled, Meta: []byte{0, 1, 2}},
		"one":       {Entries: entriesOf("192.0.2.1")},
	} {
		data, err := AppendValue([]byte("before"), v)
		require.NoError(t, err, name)
		require.Equal(t, "before", string(data[:6]), name)
		got, err := DecodeValue(data[6:])
		require.NoError(t, err, name)
		require.Equal(t, v, got, name)
	}
}

func TestValueIsCanonical(t *testing.T) {
	a, err := AppendValue(nil, Value{Entries: []ipallow.Entry{{Prefix: netip.MustParsePrefix("::ffff:203.0.113.9/120")}}})
	require.NoError(t, err)
	b, err := AppendValue(nil, Value{Entries: entriesOf("203.0.113.0/24")})
	require.NoError(t, err)
	require.Equal(t, b, a, "host bits are masked and IPv4-mapped networks are IPv4")
}

// sealed appends the checksum that belongs to a body.
func sealed(body ...byte) []byte {
	return binary.LittleEndian.AppendUint32(body, crc32.Checksum(body, castagnoli))
}

func TestDecodeValueFaults(t *testing.T) {
	good, err := AppendValue(nil, Value{Entries: entriesOf("203.0.113.0/24", "2001:db8::/32"), Meta: []byte("m")})
	require.NoError(t, err)
	for n := range good {
		_, err := DecodeValue(good[:n])
		require.Error(t, err, "cut after %d bytes", n)
	}
	for i := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		_, err := DecodeValue(bad)
		require.Error(t, err, "bit %d flipped", i)
	}
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"empty":                   {nil, ErrValue},
		"text":                    {[]byte(`{"entries":[]}`), ErrVersion},
		"next version":            {sealed(2, 0, 0, 0), ErrVersion},
		"too long":                {make([]byte, MaxValueSize+1), ErrTooLarge},
		"bytes behind":            {sealed(1, 0, 0, 0, 0), ErrValue},
		"number not shortest":     {sealed(1, 0x80, 0, 0, 0), ErrValue},
		"more entries than bytes": {sealed(1, 0xff, 0xff, 3, 0, 0), ErrValue},
		"kind":                    {sealed(1, 1, 162, 0, 0), ErrValue},
		"host bits":               {sealed(1, 1, 25, 203, 0, 113, 1, 0, 0), ErrValue},
		"mapped":                  {sealed(append(append([]byte{1, 1, 33 + 96}, make([]byte, 10)...), 0xff, 0xff, 0, 0)...), ErrValue},
		"label without entry":     {sealed(1, 0, 1, 0, 1, 'x', 0), ErrValue},
		"label empty":             {sealed(1, 1, 0, 1, 0, 0, 0), ErrValue},
		"label beyond":            {sealed(1, 1, 0, 1, 1, 1, 'x', 0), ErrValue},
		"meta cut":                {sealed(1, 0, 0, 2, 'x'), ErrValue},
	} {
		_, err := DecodeValue(c.data)
		require.ErrorIs(t, err, c.want, name)
	}
}

func TestValueLimits(t *testing.T) {
	_, err := AppendValue(nil, Value{Meta: make([]byte, MaxMeta+1)})
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = AppendValue(nil, Value{Entries: make([]ipallow.Entry, MaxEntries+1)})
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = AppendValue(nil, Value{Entries: make([]ipallow.Entry, 1)})
	require.ErrorContains(t, err, "entry 0")
	long := entriesOf("203.0.113.5")
	long[0].Label = strings.Repeat("x", MaxValueSize)
	dst := []byte("kept")
	dst, err = AppendValue(dst, Value{Entries: long})
	require.ErrorIs(t, err, ErrTooLarge)
	require.Equal(t, "kept", string(dst))

	// What the package doc promises of lists of 100,000 entries.
	size := func(entry func(i int) netip.Prefix) int {
		list := make([]ipallow.Entry, 100_000)
		for i := range list {
			list[i].Prefix = entry(i)
		}
		data, err := AppendValue(nil, Value{Entries: list})
		require.NoError(t, err)
		return len(data)
	}
	require.Less(t, size(func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(10 + i>>16), byte(i >> 8), byte(i), 1}), 32)
	}), 501_000)
	require.Less(t, size(func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, byte(i >> 16), byte(i >> 8), byte(i)}), 64)
	}), 901_000)
}

// randomValue returns a value with lists of all kinds of prefixes.
func randomValue(r *rand.Rand) Value {
	var v Value
	for range r.IntN(8) {
		var e ipallow.Entry
		if r.IntN(2) == 0 {
			var a [4]byte
			binary.BigEndian.PutUint32(a[:], r.Uint32())
			e.Prefix = netip.PrefixFrom(netip.AddrFrom4(a), r.IntN(33)).Masked()
		} else {
			var a [16]byte
			binary.BigEndian.PutUint64(a[:], r.Uint64())
			binary.BigEndian.PutUint64(a[8:], r.Uint64())
			e.Prefix = netip.PrefixFrom(netip.AddrFrom16(a), r.IntN(129)).Masked()
		}
		if r.IntN(3) == 0 {
			e.Label = fmt.Sprintf("label %d", r.IntN(1000))
		}
		v.Entries = append(v.Entries, e)
	}
	if r.IntN(2) == 0 {
		v.Meta = fmt.Appendf(nil, "meta %d", r.IntN(1000))
	}
	return v
}

func FuzzValue(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 { // values as they are
		data, err := AppendValue(nil, randomValue(r))
		require.NoError(f, err)
		f.Add(data[:len(data)-4])
	}
	f.Add([]byte{1, 0x80, 0, 0, 0})          // a number not in its shortest form
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0x7f}) // a number that is too large
	f.Add([]byte{2, 0, 0, 0})                // the next version
	f.Fuzz(func(t *testing.T, body []byte) {
		// The checksum is added here, so that the fuzzer gets past it.
		for _, data := range [][]byte{body, sealed(bytes.Clone(body)...)} {
			v, err := DecodeValue(data)
			if err != nil {
				continue
			}
			again, err := AppendValue(nil, v)
			require.NoError(t, err)
			require.Equal(t, data, again, "one encoding for each value")
		}
	})
}
