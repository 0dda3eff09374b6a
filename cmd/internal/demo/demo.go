// Package demo makes allowlists from published networks and a log of requests
// to try them on, the same for the same seed.
package demo

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"
)

//go:embed prefixes.txt.gz
var published []byte

// A Provider is a name and the networks it publishes.
type Provider struct {
	Name     string
	Prefixes []netip.Prefix
}

// Providers returns the embedded sample.
func Providers() ([]Provider, error) {
	z, err := gzip.NewReader(bytes.NewReader(published))
	if err != nil {
		return nil, err
	}
	var all []Provider
	s := bufio.NewScanner(z)
	for s.Scan() {
		name, text, _ := strings.Cut(s.Text(), " ")
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		if len(all) == 0 || all[len(all)-1].Name != name {
			all = append(all, Provider{Name: name})
		}
		last := &all[len(all)-1]
		last.Prefixes = append(last.Prefixes, p)
	}
	return all, s.Err()
}

// A Demo is lists and what it takes to make requests.
type Demo struct {
	keys   []key
	leaked []int // keys that somebody uses from elsewhere
	rand   *rand.Rand
}

type key struct {
	id      string
	entries []entry // none: the key has no list
	used    int     // requests come from so many of them
}

type entry struct {
	Entry string `json:"entry"`
	Label string `json:"label"`

	prefix netip.Prefix
}

// New makes lists for n keys: each is a customer of one or two providers and
// has 1 to 20 of their networks. One key in fifty has no list, and one in two
// hundred has leaked. Some entries are never used. The error is that of ctx.
func New(ctx context.Context, n int, seed uint64) (*Demo, error) {
	providers, err := Providers()
	if err != nil {
		return nil, err
	}
	d := &Demo{rand: rand.New(rand.NewPCG(seed, 0x64656d6f))}
	r := d.rand
	for i := range n {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		k := key{id: fmt.Sprintf("ipk_%08d_%016x", i, r.Uint64())}
		if i%50 == 49 {
			d.keys = append(d.keys, k)
			continue
		}
		seen := map[netip.Prefix]bool{}
		for want := 1 + r.IntN(r.IntN(20)+1); len(k.entries) < want; {
			p := providers[(i+r.IntN(2))%len(providers)]
			e := p.Prefixes[r.IntN(len(p.Prefixes))]
			if seen[e] {
				want-- // a provider may have few
				continue
			}
			seen[e] = true
			k.entries = append(k.entries, entry{e.String(), fmt.Sprintf("%s %d", p.Name, len(k.entries)+1), e})
		}
		if len(k.entries) == 0 {
			p := providers[i%len(providers)]
			k.entries = append(k.entries, entry{p.Prefixes[0].String(), p.Name, p.Prefixes[0]})
		}
		k.used = max(1, len(k.entries)-r.IntN(2)*r.IntN(len(k.entries)))
		if i%200 == 7 {
			d.leaked = append(d.leaked, i)
		}
		d.keys = append(d.keys, k)
	}
	return d, nil
}

// WriteLists writes the lists as JSON, a key a line.
func (d *Demo) WriteLists(w io.Writer) (keys, entries int, err error) {
	b := bufio.NewWriter(w)
	sep := "{\"keys\": {\n"
	for _, k := range d.keys {
		if len(k.entries) == 0 {
			continue
		}
		list, err := json.Marshal(k.entries)
		if err != nil {
			return 0, 0, err
		}
		fmt.Fprintf(b, "%s%q: %s", sep, k.id, list)
		sep = ",\n"
		keys++
		entries += len(k.entries)
	}
	fmt.Fprint(b, "\n}}\n")
	return keys, entries, b.Flush()
}

// WriteLog writes a log of n requests as CSV. Three of its lines are broken.
func (d *Demo) WriteLog(w io.Writer, n int) error {
	b := bufio.NewWriterSize(w, 1<<16)
	fmt.Fprintln(b, "time,key,address,method,path,status")
	at := time.Date(2026, 11, 16, 0, 0, 0, 0, time.UTC)
	step := 7 * 24 * time.Hour / time.Duration(max(n, 1))
	thief := netip.MustParsePrefix("198.51.100.0/26")
	var line []byte
	for i := range n {
		k := &d.keys[d.rand.IntN(len(d.keys))]
		from := thief
		switch {
		case len(d.leaked) > 0 && d.rand.IntN(200) == 0:
			k = &d.keys[d.leaked[d.rand.IntN(len(d.leaked))]]
		case len(k.entries) == 0 || d.rand.IntN(500) == 0:
			from = netip.MustParsePrefix("203.0.113.0/24")
		default:
			from = k.entries[d.rand.IntN(k.used)].prefix
		}
		line = at.Add(time.Duration(i)*step).AppendFormat(line[:0], time.RFC3339)
		line = append(line, ',')
		line = append(line, k.id...)
		line = append(line, ',')
		switch {
		case n > 10 && (i == n/4 || i == n/2):
			line = append(line, "unix:"...) // a log line is not always what it should be
		case n > 10 && i == 3*n/4:
			line = append(line[:0], "log rotated, see the next file"...)
		default:
			line = inside(d.rand, from).AppendTo(line)
		}
		line = append(line, ",GET,/v1/items,200\n"...)
		if _, err := b.Write(line); err != nil {
			return err
		}
	}
	return b.Flush()
}

// inside draws an address of p.
func inside(r *rand.Rand, p netip.Prefix) netip.Addr {
	a := p.Addr().AsSlice()
	for i := p.Bits(); i < len(a)*8; {
		if i%8 == 0 {
			a[i/8] = byte(r.Uint32())
			i += 8
			continue
		}
		a[i/8] |= byte(r.IntN(2)) << (7 - i%8)
		i++
	}
	addr, _ := netip.AddrFromSlice(a) // 4 or 16 bytes, as AsSlice gave them
	return addr
}
