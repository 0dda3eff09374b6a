package reqlog

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// scan returns the records of a log, sorted.
func scan(t *testing.T, text string, opts Options) ([]string, Stats) {
	t.Helper()
	var mu sync.Mutex
	var got []string
	stats, err := Scan(context.Background(), strings.NewReader(text), opts, func(int) func([]byte, netip.Addr) {
		return func(key []byte, addr netip.Addr) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, string(key)+" "+addr.String())
		}
	})
	require.NoError(t, err)
	sort.Strings(got)
	require.EqualValues(t, len(got), stats.Records)
	return got, stats
}

func TestFormats(t *testing.T) {
	want := []string{" 203.0.113.9", "k1 203.0.113.5", "k2 2001:db8::1"}
	for name, text := range map[string]string{
		"csv":    "time,key,address\n1,k1,203.0.113.5\r\n\n2,\"k2\",2001:db8::1\n3,,203.0.113.9",
		"csv 2":  "\xef\xbb\xbfip,status,key_id\n203.0.113.5,200,k1\n2001:db8::1,403,k2\n203.0.113.9,401,\n",
		"jsonl":  `{"key":"k1","address":"203.0.113.5"}` + "\n" + `{"n":{"key":"no"},"address":"2001:db8::1","key":"k\u0032"}` + "\n" + `{"ip":"203.0.113.9"}`,
		"nginx":  `203.0.113.5 - - [23/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "curl/8" "k1"` + "\n" + `2001:db8::1 - u [23/Nov/2026:10:00:00 +0000] "GET /\x22 HTTP/1.1" 200 5 "-" "x" "k2"` + "\n" + `203.0.113.9 - - [x] "GET" 401 0 "-" "-" "-"`,
		"nested": "",
	} {
		var opts Options
		if name == "nested" {
			text = `{"auth":{"id":"k1"},"net":{"peer":"203.0.113.5"}}` + "\n" + `{"auth":{"id":"k2"},"net":{"peer":"2001:db8::1"}}` + "\n" + `{"net":{"peer":"203.0.113.9"}}`
			opts = Options{KeyField: "auth.id", AddrField: "net.peer"}
		}
		got, stats := scan(t, text, opts)
		require.Equal(t, want, got, name)
		require.EqualValues(t, 3, stats.Lines, name)
		require.Zero(t, stats.BadLines, name)

		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		_, _ = w.Write([]byte(text)) // to memory
		require.NoError(t, w.Close())
		got, _ = scan(t, z.String(), opts)
		require.Equal(t, want, got, name+" in gzip")
	}
}

// Bad lines have the numbers that an editor shows, wherever blocks end.
func TestBadLines(t *testing.T) {
	var b strings.Builder
	b.WriteString("key,address\n")
	var want []int64
	for i := int64(2); i <= 400; i++ {
		switch {
		case i%97 == 0:
			b.WriteString("k,nonsense\n")
			want = append(want, i)
		case i%89 == 0:
			b.WriteString("\n")
		case i%83 == 0:
			b.WriteString("only one field\n")
			want = append(want, i)
		default:
			fmt.Fprintf(&b, "k%d,203.0.113.%d\n", i, i%256)
		}
	}
	for _, size := range []int{64, 100, 1000, 1 << 20} {
		for _, workers := range []int{1, 4} {
			_, stats := scan(t, b.String(), Options{BlockSize: size, Workers: workers})
			var lines []int64
			for _, bad := range stats.Bad {
				lines = append(lines, bad.Line)
				require.NotEmpty(t, bad.Reason)
			}
			require.Equal(t, want, lines, "blocks of %d", size)
			require.EqualValues(t, len(want), stats.BadLines)
			require.Equal(t, stats.Lines, stats.Records+stats.BadLines)
		}
	}
}

// A worker more changes nothing, and memory does not grow with the log.
func TestParallelAndBounded(t *testing.T) {
	const lines = 1_000_000
	line := []byte("ipk_0123456789abcdef0123456789abc,203.0.113.77,200\n")
	for _, workers := range []int{1, 3} {
		var mu sync.Mutex
		n, peak := 0, uint64(0)
		r := io.MultiReader(strings.NewReader("key,ip,status\n"), &repeat{line: line, left: lines})
		stats, err := Scan(context.Background(), r, Options{Workers: workers}, func(int) func([]byte, netip.Addr) {
			mine := 0
			return func([]byte, netip.Addr) {
				if mine++; mine%100_000 == 0 {
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					mu.Lock()
					n, peak = n+100_000, max(peak, m.HeapAlloc)
					mu.Unlock()
				}
			}
		})
		require.NoError(t, err)
		require.EqualValues(t, lines, stats.Records)
		require.Less(t, peak, uint64(40<<20))
		require.NotZero(t, n)
	}
}

// A repeat reads the same line again and again.
type repeat struct {
	line []byte
	left int
	at   int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && r.left > 0 {
		m := copy(p[n:], r.line[r.at:])
		n += m
		if r.at += m; r.at == len(r.line) {
			r.at = 0
			r.left--
		}
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func TestFaults(t *testing.T) {
	none := func(int) func([]byte, netip.Addr) { return func([]byte, netip.Addr) {} }
	for name, text := range map[string]string{
		"no columns": "a,b\n1,2\n",
		"unknown":    "hello world\n",
	} {
		_, err := Scan(context.Background(), strings.NewReader(text), Options{}, none)
		require.Error(t, err, name)
	}
	_, err := Scan(context.Background(), strings.NewReader("x"), Options{Format: "xml"}, none)
	require.ErrorContains(t, err, "none of csv, jsonl and nginx")

	// A gzip stream that breaks off is an error, not the end of the log.
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	for i := range 10_000 {
		fmt.Fprintf(w, "%s\n", strings.Repeat(fmt.Sprint(i), 3))
	}
	require.NoError(t, w.Close())
	_, err = Scan(context.Background(), io.MultiReader(bytes.NewReader(z.Bytes()[:z.Len()/2])), Options{Format: "nginx"}, none)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)

	// So is a reader that fails, and a context that is done.
	broken := errors.New("broken")
	_, err = Scan(context.Background(), io.MultiReader(strings.NewReader("key,ip\n"+strings.Repeat("k,1.2.3.4\n", 10_000)), failing{broken}), Options{BlockSize: 100}, none)
	require.ErrorIs(t, err, broken)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = Scan(ctx, strings.NewReader("key,ip\nk,1.2.3.4\n"), Options{}, none)
	require.ErrorIs(t, err, context.Canceled)

	// An empty log has no lines.
	stats, err := Scan(context.Background(), strings.NewReader(""), Options{}, none)
	require.NoError(t, err)
	require.Zero(t, stats.Lines)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// The short ways answer what the slow libraries answer.
func FuzzLineVsSlow(f *testing.F) {
	f.Add("k,203.0.113.5,x")                                 // plain
	f.Add(`"k","203.0.113.5"`)                               // quoted
	f.Add(`k,"a ""b"" c",x`)                                 // quotation marks inside
	f.Add("k,010.1.1.1")                                     // not an address: leading zero
	f.Add("k,1.2.3.256")                                     // not an address: over 255
	f.Add("k,::ffff:1.2.3.4")                                // IPv4-mapped
	f.Add("k,1.2.3.4.5")                                     // five numbers
	f.Add(`{"key":"a\u0062","address":"::1"}`)               // JSON with an escape
	f.Add(`{"key":"a","x":{"key":"b"}}`)                     // JSON, nested
	f.Add(`{"address":"1.2.3.4","key":null}`)                // JSON, no text
	f.Add(`{"request":{"key":7},"client":{"ip":"::1"}}`)     // JSON, members by path
	f.Add(`{"request.key":"a","client.ip":"::1","key":"b"}`) // JSON, names with dots
	f.Add(`{"key":"a","address":"::1"} x`)                   // JSON, and something behind it
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\r\n") {
			t.Skip("a line has no line end")
		}
		addr, ok := parseAddr([]byte(line))
		want, err := netip.ParseAddr(line)
		require.Equal(t, err == nil, ok, "parseAddr(%q)", line)
		if ok {
			require.Equal(t, want, addr)
		}
		for _, field := range strings.Split(line, ",") {
			addr, ok := parseAddr([]byte(field))
			want, err := netip.ParseAddr(field)
			require.Equal(t, err == nil, ok, "parseAddr(%q)", field)
			if ok {
				require.Equal(t, want, addr)
			}
		}
		for columns := 2; columns <= 3 && line != ""; columns++ {
			key, a, reason := csvParser(0, 1, columns)([]byte(line))
			fields, err := csv.NewReader(strings.NewReader(line)).Read()
			require.Equal(t, err == nil && len(fields) == columns, reason == "", "CSV %q, %d columns", line, columns)
			if reason == "" {
				require.Equal(t, fields[:2], []string{string(key), string(a)}, "CSV %q", line)
			}
		}
		if line == "" {
			return
		}
		p := newJSONParser([2][]string{{"key", "request.key"}, {"address", "client.ip"}})
		wantKey, wantAddr, wantReason := p.slow([]byte(line))
		key, a, reason := p.parse([]byte(line))
		require.Equal(t, []string{string(wantKey), string(wantAddr), wantReason}, []string{string(key), string(a), reason}, "JSON %q", line)
	})
}
