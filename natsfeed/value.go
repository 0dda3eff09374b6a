package natsfeed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"

	"github.com/ipallow/ipallow"
)

// Version is the version of values that this package writes, and the only one
// that it reads.
const Version = 1

// Limits of a value. A server's maximal payload (1 MiB by default) and a
// bucket's own limit may be lower than MaxValueSize; see [Publish].
const (
	MaxValueSize = 8 << 20   // bytes of an encoded value
	MaxEntries   = 1_000_000 // entries of a list
	MaxMeta      = 64 << 10  // bytes of Value.Meta
)

var (
	// ErrTooLarge says that a value is larger than it may be.
	ErrTooLarge = errors.New("natsfeed: the value is too large")

	// ErrVersion says that a value has a version that this package cannot
	// read.
	ErrVersion = errors.New("natsfeed: the value has an unknown version; update the reader")

	// ErrValue says that a value cannot be read.
	ErrValue = errors.New("natsfeed: the value cannot be read")
)

// A Value is what a bucket holds for a key.
type Value struct {
	// Entries is the key's allowlist, in order, with labels. Empty means
	// that the key is unrestricted.
	Entries []ipallow.Entry

	// Meta is for what else a node must know of the key, such as the hash of
	// its secret. This package carries it and does not look into it.
	Meta []byte
}

// A value is laid out as
//
//	version   1 byte
//	entries   their number, then for each one byte, 0 to 32 for an IPv4
//	          network of that length or 33 to 161 for an IPv6 network of 0 to
//	          128, and as many bytes of the address as the length reaches into
//	labels    the number of entries that have one, then for each the number
//	          of entries passed over since the last, the length, the label
//	meta      length, bytes
//	checksum  4 bytes, CRC-32C of all before, little endian
//
// Numbers are unsigned varints of the shortest form. There is exactly one
// encoding of a value, and nothing stands behind it.
//
// JSON would be readable without a tool, and three to six times as large: a
// list of 100,000 networks would not fit into a message.
const v6 = 33

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendValue appends the encoding of v to dst. Prefixes get their canonical
// form; no policy is applied. The error wraps ErrTooLarge, or says which entry
// has no valid prefix.
func AppendValue(dst []byte, v Value) ([]byte, error) {
	if len(v.Entries) > MaxEntries {
		return dst, fmt.Errorf("%w: it has %d entries and may have %d", ErrTooLarge, len(v.Entries), MaxEntries)
	}
	if len(v.Meta) > MaxMeta {
		return dst, fmt.Errorf("%w: Meta has %d bytes and may have %d", ErrTooLarge, len(v.Meta), MaxMeta)
	}
	start := len(dst)
	out := append(dst, Version)
	out = binary.AppendUvarint(out, uint64(len(v.Entries)))
	labels := 0
	for i := range v.Entries {
		e := &v.Entries[i]
		p := canonical(e.Prefix)
		if !p.IsValid() {
			return dst, fmt.Errorf("natsfeed: entry %d has no valid prefix; make entries with ipallow.Policy.ParseList", i)
		}
		n := p.Bits()
		if p.Addr().Is4() {
			a := p.Addr().As4()
			out = append(append(out, byte(n)), a[:(n+7)/8]...)
		} else {
			a := p.Addr().As16()
			out = append(append(out, byte(n+v6)), a[:(n+7)/8]...)
		}
		if e.Label != "" {
			labels++
		}
	}
	out = binary.AppendUvarint(out, uint64(labels))
	next := 0
	for i := range v.Entries {
		if l := v.Entries[i].Label; l != "" {
			out = binary.AppendUvarint(out, uint64(i-next))
			out = binary.AppendUvarint(out, uint64(len(l)))
			out = append(out, l...)
			next = i + 1
		}
	}
	out = binary.AppendUvarint(out, uint64(len(v.Meta)))
	out = append(out, v.Meta...)
	out = binary.LittleEndian.AppendUint32(out, crc32.Checksum(out[start:], castagnoli))
	if n := len(out) - start; n > MaxValueSize {
		return dst, fmt.Errorf("%w: it has %d bytes and may have %d", ErrTooLarge, n, MaxValueSize)
	}
	return out, nil
}

// canonical returns the form that an engine stores: masked, and IPv4 where it
// is IPv4-mapped. The zero Prefix stands for what is none.
func canonical(p netip.Prefix) netip.Prefix {
	if !p.IsValid() {
		return netip.Prefix{}
	}
	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// DecodeValue reads what AppendValue wrote. The error wraps ErrVersion,
// ErrTooLarge or ErrValue. It takes any bytes whatever and never holds more
// than some 60 times their number in memory. The result does not share memory
// with data.
func DecodeValue(data []byte) (Value, error) { return decodeValue(string(data)) }

// decodeValue is DecodeValue; Meta is copied, and labels are parts of data.
func decodeValue(data string) (Value, error) {
	if len(data) > MaxValueSize {
		return Value{}, fmt.Errorf("%w: it has %d bytes and may have %d", ErrTooLarge, len(data), MaxValueSize)
	}
	if len(data) == 0 {
		return Value{}, fmt.Errorf("%w: it is empty", ErrValue)
	}
	if data[0] != Version {
		return Value{}, fmt.Errorf("%w: %d, and not %d", ErrVersion, data[0], Version)
	}
	if len(data) < 8 {
		return Value{}, fmt.Errorf("%w: it ends too early", ErrValue)
	}
	body, sum := data[:len(data)-4], data[len(data)-4:]
	if crc32.Checksum([]byte(body), castagnoli) != binary.LittleEndian.Uint32([]byte(sum)) {
		return Value{}, fmt.Errorf("%w: its checksum is wrong", ErrValue)
	}
	d := decoder{rest: body[1:]}
	v := d.value()
	if d.fault == "" && d.rest != "" {
		d.fault = "there are bytes behind it"
	}
	if d.fault != "" {
		return Value{}, fmt.Errorf("%w: %s", ErrValue, d.fault)
	}
	return v, nil
}

// A decoder takes a value apart from the front. The first fault stays.
type decoder struct {
	rest  string
	fault string
}

func (d *decoder) fail(why string) {
	if d.fault == "" {
		d.fault = why
	}
	d.rest = ""
}

func (d *decoder) take(n int) string {
	if n > len(d.rest) {
		d.fail("it ends too early")
		return ""
	}
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

// number reads a varint of at most limit.
func (d *decoder) number(limit int) int {
	var x uint64
	for i := 0; ; i++ {
		if i == len(d.rest) || i == 4 {
			d.fail("a number is cut off or too large")
			return 0
		}
		c := d.rest[i]
		x |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				d.fail("a number is not in its shortest form")
				return 0
			}
			d.rest = d.rest[i+1:]
			break
		}
	}
	if x > uint64(limit) {
		d.fail("a number is too large")
		return 0
	}
	return int(x)
}

func (d *decoder) value() (v Value) {
	n := d.number(min(MaxEntries, len(d.rest)))
	if n > 0 {
		v.Entries = make([]ipallow.Entry, n)
	}
	for i := range v.Entries {
		v.Entries[i].Prefix = d.prefix()
		if d.fault != "" {
			return Value{}
		}
	}
	next := 0
	for range d.number(n) {
		i := next + d.number(MaxEntries)
		if i >= n {
			d.fail("a label has no entry")
		}
		label := d.take(d.number(MaxValueSize))
		if d.fault == "" && label == "" {
			d.fail("a label is empty")
		}
		if d.fault != "" {
			return Value{}
		}
		v.Entries[i].Label, next = label, i+1
	}
	if meta := d.take(d.number(MaxMeta)); meta != "" {
		v.Meta = []byte(meta)
	}
	return v
}

func (d *decoder) prefix() netip.Prefix {
	head := d.take(1)
	if head == "" {
		return netip.Prefix{}
	}
	var p netip.Prefix
	if c := int(head[0]); c < v6 {
		var a [4]byte
		copy(a[:], d.take((c+7)/8))
		p = netip.PrefixFrom(netip.AddrFrom4(a), c)
	} else {
		if c -= v6; c > 128 {
			d.fail("an entry is of no known kind")
			return p
		}
		var a [16]byte
		copy(a[:], d.take((c+7)/8))
		p = netip.PrefixFrom(netip.AddrFrom16(a), c)
	}
	if d.fault == "" && canonical(p) != p {
		d.fail("an entry has host bits or is IPv4 in IPv6 form")
	}
	return p
}
