package reqlog

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sort"
	"strconv"
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

// What writes logs writes addresses with ports, and this project's own log has
// columns of its own: both are read without flags.
func TestKnownLogs(t *testing.T) {
	t.Parallel()
	want := []string{" 203.0.113.9", "k1 203.0.113.5", "k2 2001:db8::1"}
	records := []string{
		`{"time":"2026-11-23T10:00:00Z","request_id":"r1","key_id":"k1","method":"GET","path":"/","status":200,"address":"203.0.113.5","verdict":"allowed","blocked":false,"duration_ms":1.5}`,
		`{"time":"2026-11-23T10:00:01Z","request_id":"r2","key_id":"k2","method":"GET","path":"/","status":403,"address":"2001:db8::1","verdict":"denied","blocked":true,"duration_ms":0.1}`,
		`{"time":"2026-11-23T10:00:02Z","request_id":"r3","key_id":"","method":"GET","path":"/","status":401,"address":"203.0.113.9","verdict":"denied","blocked":false,"duration_ms":0.1}`,
	}
	var pretty bytes.Buffer
	require.NoError(t, json.Indent(&pretty, []byte("["+strings.Join(records, ",")+"]"), "", "  "))
	var objects bytes.Buffer
	for _, r := range records {
		require.NoError(t, json.Indent(&objects, []byte(r), "", "  "))
		objects.WriteString("\n")
	}
	for name, text := range map[string]string{
		"csv with ports":     "key,address\nk1,203.0.113.5:4711\nk2,[2001:db8::1]:443\n,203.0.113.9:0\n",
		"jsonl with ports":   `{"key":"k1","remote_addr":"203.0.113.5:65535"}` + "\n" + `{"key":"k2","remote_addr":"[2001:db8::1]:1"}` + "\n" + `{"remote_addr":"203.0.113.9:80"}`,
		"Envoy":              `{"key_id":"k1","downstream_remote_address":"203.0.113.5:4711"}` + "\n" + `{"key_id":"k2","downstream_remote_address":"[2001:db8::1]:4711"}` + "\n" + `{"key_id":null,"downstream_remote_address":"203.0.113.9:4711"}`,
		"nginx with ports":   `203.0.113.5:4711 - - [x] "GET /" 200 5 "-" "-" "k1"` + "\n" + `[2001:db8::1]:4711 - - [x] "GET /" 200 5 "-" "-" "k2"` + "\n" + `203.0.113.9 - - [x] "GET /" 401 0 "-" "-" "-"`,
		"logs.csv":           "time,request_id,key_id,method,path,status,client_addr,verdict,duration_ms\r\n2026-11-23T10:00:00.000000000Z,r1,k1,GET,/,200,203.0.113.5,allowed,1.5\r\n2026-11-23T10:00:01.000000000Z,r2,k2,GET,\"/a,b\",403,2001:db8::1,denied,0.1\r\n2026-11-23T10:00:02.000000000Z,r3,,GET,/,401,203.0.113.9,denied,0.1\r\n",
		"records, a line":    strings.Join(records, "\n"),
		"a page of the API":  `{"records":[` + strings.Join(records, ",") + `],"next":"x"}` + "\n",
		"two pages":          `{"records":[` + records[0] + `],"next":"x"}` + "\n" + ` {"records": [` + records[1] + "," + records[2] + `], "next": ""}`,
		"a page, next first": `{"next":"x","records":[` + strings.Join(records, ",") + `]}`,
		"an array":           "[" + strings.Join(records, ",\n") + "]",
		"an array, pretty":   pretty.String(),
		"objects, pretty":    objects.String(),
	} {
		got, stats := scan(t, text, Options{})
		require.Equal(t, want, got, name)
		require.Zero(t, stats.BadLines, name)
	}
	for _, text := range []string{
		"203.0.113.5:65536", "203.0.113.5:", "203.0.113.5:http", "[203.0.113.5]:80", "2001:db8::1]:80", "[2001:db8::1]80",
		"[2001:db8::1]:", ":80", "[]:80", "", "203.0.113.5:80:80", "localhost:80",
	} {
		_, ok := parseAddr([]byte(text))
		require.False(t, ok, text)
	}
}

// A document that breaks off is an error: what is missing was not read.
func TestDocumentBreaksOff(t *testing.T) {
	t.Parallel()
	none := func(int) func([]byte, netip.Addr) { return func([]byte, netip.Addr) {} }
	for _, text := range []string{
		"[\n", `[{"key":"k","address":"203.0.113.5"}`, "{\n  \"key\": ", `{"records":[{"key":"k","address":"203.0.113.5"},`,
		`[{"key":"k"} x]`, `[{"key":"k","address":"203.0.113.5"}] 17`,
	} {
		_, err := Scan(context.Background(), strings.NewReader(text), Options{Format: "jsonl"}, none)
		require.ErrorContains(t, err, "JSON", "%q", text)
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
	require.ErrorContains(t, err, "is not csv, jsonl or nginx")

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

// slowAddr is parseAddr by the standard library.
func slowAddr(text string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr, true
	}
	if inner, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(inner, "]") {
		addr, err := netip.ParseAddr(inner[:len(inner)-1])
		return addr, err == nil && addr.Is6() && !strings.ContainsAny(inner[:len(inner)-1], "[]") // a zone may have them
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil || len(port) > 5 {
		return netip.Addr{}, false
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(host)
	return addr, err == nil && addr.Is6() == strings.HasPrefix(text, "[")
}

// The short ways answer what the slow libraries answer.
func FuzzLineVsSlow(f *testing.F) {
	f.Add("k,203.0.113.5,x")                                 // plain
	f.Add(`"k","203.0.113.5"`)                               // quoted
	f.Add(`k,"a ""b"" c",x`)                                 // quotation marks inside
	f.Add("k,010.1.1.1")                                     // not an address: leading zero
	f.Add("k,1.2.3.256")                                     // not an address: over 255
	f.Add("k,::ffff:1.2.3.4")                                // IPv4-mapped
	f.Add("k,1.2.3.4:443,[::1]:80,[::1]")                    // with ports
	f.Add("k,1.2.3.4:65536,[::1]:,[1.2.3.4]:80,[fe80::1%a]") // and what is none
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
		for _, field := range append(strings.Split(line, ","), line) {
			addr, ok := parseAddr([]byte(field))
			want, wantOK := slowAddr(field)
			require.Equal(t, wantOK, ok, "parseAddr(%q)", field)
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
