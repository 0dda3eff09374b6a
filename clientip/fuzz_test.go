package clientip

import (
	"net/netip"
	"strings"
	"testing"
)

var (
	testProxies = []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("192.0.2.16/28"),
		netip.MustParsePrefix("2001:db8:ffff::/48"),
	}

	// parseConfigs are what FuzzParse and TestParseAgainstNaive try all of.
	parseConfigs = []struct {
		opts  Options
		naive naiveConfig
	}{
		{Options{}, naiveConfig{mode: "peer"}},
		{Options{Mode: XForwardedFor, TrustedProxies: testProxies},
			naiveConfig{mode: "x_forwarded_for", trusted: testProxies}},
		{Options{Mode: XForwardedFor, TrustedHops: 2, TrustAnyPeer: true},
			naiveConfig{mode: "x_forwarded_for", hops: 2, anyPeer: true}},
		{Options{Mode: Forwarded, TrustedProxies: testProxies, TrustUnixPeer: true},
			naiveConfig{mode: "forwarded", trusted: testProxies, unixPeer: true}},
		{Options{Mode: Forwarded, TrustedHops: 3, TrustedProxies: testProxies},
			naiveConfig{mode: "forwarded", trusted: testProxies, hops: 3}},
		{Options{Mode: SingleHeader, Header: "X-Real-IP", TrustedProxies: testProxies},
			naiveConfig{mode: "single_header", trusted: testProxies}},
	}
)

func mustNew(t testing.TB, opts Options) *Source {
	t.Helper()
	s, err := New(&opts)
	if err != nil {
		t.Fatalf("New(%+v): %v", opts, err)
	}
	return s
}

// splitLines makes field lines of a fuzzed text: none of "", else one for each
// line feed and one more.
func splitLines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// FuzzParse compares with the naive reference, in every mode.
func FuzzParse(f *testing.F) {
	for _, seed := range []struct{ peer, header string }{
		{"10.0.0.1:80", "203.0.113.9"},                                             // the plain case
		{"10.0.0.1:80", "1.2.3.4, 203.0.113.9:4711, 10.1.2.3"},                     // a port, a trusted element
		{"10.0.0.1:80", "1.2.3.4\n[2001:db8::1]:443 \n10.1.2.3\t"},                 // several lines, white space
		{"[2001:db8:ffff::1%eth0]:80", "::ffff:203.0.113.9"},                       // zone on the peer, mapped element
		{"::ffff:10.0.0.1", "fe80::1%eth0, "},                                      // mapped peer, empty last element
		{"10.0.0.1:80", `for=203.0.113.9;proto=https, for="[2001:db8::1]"`},        // Forwarded, both families
		{"10.0.0.1:80", `for="[2001:db8::1]:_x";host="a,b;c\"d"`},                  // separators and a quote in quotes
		{"10.0.0.1:80", `For="\1.2.3.4" ; By=_a`},                                  // a quoted pair that is not needed
		{"10.0.0.1:80", `for=1.1.1.1;x=", for=203.0.113.9`},                        // a quote that never closes
		{"10.0.0.1:80", `for=1.1.1.1;x="\", for="[2001:db8::1]"`},                  // the same, escaping the comma
		{"10.0.0.1:80", `x="\\\", for=1.1.1.1,"\\"`},                               // runs of backslashes
		{"10.0.0.1:80", `for="un` + "\u212a" + `nown", for=unknown`},               // the Kelvin sign is no k
		{"10.0.0.1:80", "for=_hidden;for=1.1.1.1"},                                 // two for
		{"@", "for=1.2.3.4;;"},                                                     // a unix peer, empty pairs
		{"10.0.0.1:99999", strings.Repeat("1.1.1.1,", 32)},                         // a bad port, too many elements
		{"10.0.0.1:1", strings.Repeat("for=10.1.1.1,", 31) + `for=10.1.1.1;a=","`}, // 32 elements, 32 commas
		{"10.0.0.1:1", strings.Repeat("9", 8193)},                                  // one byte over the bound
		{"10.0.0.1:1", "1.2.3.4:00080, 10.0.0.2:65536"},                            // leading zeros, port out of range
		{"/run/x.sock", "\x00\r1.2.3.4\x85"},                                       // control characters and obs-text
	} {
		f.Add(seed.peer, seed.header)
	}
	sources := make([]*Source, len(parseConfigs))
	for i, c := range parseConfigs {
		sources[i] = mustNew(f, c.opts)
	}
	f.Fuzz(func(t *testing.T, peer, header string) {
		lines := splitLines(header)
		for i, c := range parseConfigs {
			got, want := sources[i].FromValues(peer, lines), naive(c.naive, peer, lines)
			if got != want {
				t.Errorf("%+v\npeer %q, header %#v\ngot  %v\nwant %v", c.naive, peer, lines, got, want)
			}
			if got.OK() != got.Addr.IsValid() || got.Reason == Unset {
				t.Errorf("contradictory result %+v for peer %q, header %#v", got, peer, lines)
			}
		}
	})
}

// How a proxy adds to a list header that it received.
const (
	appendToLine  = iota // to the last line, after ", "
	appendNoSpace        // to the last line, after ","
	appendNewLine        // as a field line of its own
	joinAndAppend        // all lines joined into one, then appended
	numStyles
)

func appendElement(lines []string, elem string, style int) []string {
	if len(lines) == 0 || style == appendNewLine {
		return append(lines[:len(lines):len(lines)], elem)
	}
	sep := ", "
	switch style {
	case appendNoSpace:
		sep = ","
	case joinAndAppend:
		return []string{strings.Join(lines, ", ") + sep + elem}
	}
	last := len(lines) - 1
	return append(lines[:last:last], lines[last]+sep+elem)
}

// The elements that well-behaved proxies write for a caller.
var writeElement = map[Mode][]func(a string) string{
	XForwardedFor: {
		func(a string) string { return a },
		func(a string) string {
			if strings.Contains(a, ":") {
				return "[" + a + "]:4711"
			}
			return a + ":4711"
		},
	},
	Forwarded: {
		func(a string) string { return "for=" + quoteNode(a) },
		func(a string) string { return "proto=https;For=" + quoteNode(a) + `;host="a\"b,c;d\\";by="[::1]"` },
		func(a string) string { return `by=_p;host="";FOR=` + quoteNode(a) },
	},
}

func quoteNode(a string) string {
	if strings.Contains(a, ":") {
		return `"[` + a + `]"`
	}
	return a
}

// FuzzClientCannotMoveAddress sends the header that a client made up through
// one to three trusted proxies and compares with the same request without
// that header. The address is the same, exactly, unless the whole chain
// exceeds a bound: then, and only then, there is none.
func FuzzClientCannotMoveAddress(f *testing.F) {
	for _, seed := range []string{
		"",                           // nothing sent
		"6.6.6.6",                    // the usual lie
		"6.6.6.6, 10.1.1.1",          // with a trusted proxy's address after it
		"10.1.1.1,10.1.1.1,10.1.1.1", // only trusted proxies' addresses
		"6.6.6.6,",                   // an empty element before the proxy's
		"\n\n6.6.6.6\n",              // empty lines
		"for=6.6.6.6",                // the same for Forwarded
		`for=6.6.6.6;x="`,            // a quote that would swallow what follows
		`for=6.6.6.6;x="\`,           // and a backslash before the proxy's comma
		`for=6.6.6.6;x="\\`,          // and an escaped backslash
		`"`,                          // a quote alone
		`for="[2001:db8::6]`,         // a quote to be closed by the proxy's own
		`for=6.6.6.6, for="`,         // a quote in an element of its own
		"6.6.6.6\x00", "6.6.6.6\r",   // control characters
		strings.Repeat("6.6.6.6,", 31),             // at the bound of elements
		strings.Repeat(`for=6.6.6.6;x=",",`, 20),   // quoted commas, over and under it
		strings.Repeat("x", 8150),                  // at the bound of bytes
		"\u00a06.6.6.6", "６.6.6.6", "6.6.6.6%eth0", // spaces, digits and zones that are none
	} {
		for mode := range 3 {
			for style := range numStyles {
				f.Add(seed, mode, style, mode+style)
			}
		}
	}
	modes := []Mode{XForwardedFor, Forwarded, SingleHeader}
	clients := []string{"203.0.113.9", "2001:db8::9", "::ffff:203.0.113.9", "198.51.100.1"}
	hops := []string{"10.0.0.1", "2001:db8:ffff::1", "192.0.2.17"}

	type key struct {
		mode Mode
		hops int
	}
	sources := map[key]*Source{}
	for _, mode := range modes {
		sources[key{mode, 0}] = mustNew(f, optionsFor(mode, 0))
		for n := 1; n <= 3 && mode != SingleHeader; n++ {
			sources[key{mode, n}] = mustNew(f, optionsFor(mode, n))
		}
	}

	f.Fuzz(func(t *testing.T, sent string, modePick, style, pick int) {
		mode := modes[uint(modePick)%3]
		style = int(uint(style) % numStyles)
		client := clients[uint(pick)%4]
		proxies := int(uint(pick)/4%3) + 1
		want := Result{netip.MustParseAddr(client).Unmap(), Found}
		lines := splitLines(sent)

		// The client talks to the server itself: no header counts.
		for _, s := range sources {
			if s.anyPeer {
				continue
			}
			if got := s.FromValues(peerText(client), lines); got != want {
				t.Fatalf("direct: got %v, want %v for %#v", got, want, lines)
			}
		}
		if mode == SingleHeader {
			checkSingle(t, sources[key{mode, 0}], lines, client, want)
			return
		}

		// Each proxy appends the address that it was called from.
		caller, own := client, []string(nil)
		write := writeElement[mode][uint(pick)/12%uint(len(writeElement[mode]))]
		for i := range proxies {
			own = appendElement(own, write(caller), style)
			lines = appendElement(lines, write(caller), style)
			caller = hops[i]
		}
		for _, s := range []*Source{sources[key{mode, 0}], sources[key{mode, proxies}]} {
			peer := peerText(caller)
			if got := s.FromValues(peer, own); got != want {
				t.Fatalf("without the client's header: got %v, want %v for %#v", got, want, own)
			}
			got := s.FromValues(peer, lines)
			switch over := overBounds(mode, lines); {
			case over != Found && got != Result{Reason: over}:
				t.Fatalf("over the bounds: got %v, want %v for %#v", got, over, lines)
			case over == Found && got != want:
				t.Fatalf("the client moved its address: got %v, want %v for %#v", got, want, lines)
			}
		}
	})
}

// peerText writes an address with a port, as net/http does.
func peerText(addr string) string {
	if strings.Contains(addr, ":") {
		addr = "[" + addr + "]"
	}
	return addr + ":9"
}

func optionsFor(mode Mode, hops int) Options {
	o := Options{Mode: mode, TrustedProxies: testProxies, TrustedHops: hops}
	if hops > 0 {
		o.TrustedProxies, o.TrustAnyPeer = nil, true
	}
	if mode == SingleHeader {
		o.Header = "X-Real-IP"
	}
	return o
}

// checkSingle checks the single-value header: the proxy replaces what the
// client sent, or if it is set up wrongly adds a line of its own.
func checkSingle(t *testing.T, s *Source, sent []string, client string, want Result) {
	if got := s.FromValues("10.0.0.1:9", []string{client}); got != want {
		t.Fatalf("replaced: got %v, want %v", got, want)
	}
	for _, lines := range [][]string{append(sent[:len(sent):len(sent)], client), append([]string{client}, sent...)} {
		got := s.FromValues("10.0.0.1:9", lines)
		if len(sent) > 0 && got != (Result{Reason: HeaderRepeated}) {
			t.Fatalf("added to: got %v for %#v", got, lines)
		}
	}
}

// overBounds says which bound a chain exceeds, or Found, by the reference's
// way to split.
func overBounds(mode Mode, lines []string) Reason {
	bytes, elements := 0, 0
	for _, line := range lines {
		bytes += len(line)
		elements += len(naiveElements(mode.String(), line))
	}
	switch {
	case len(lines) > 32:
		return TooManyElements
	case bytes > 8192:
		return HeaderTooLarge
	case elements > 32:
		return TooManyElements
	}
	return Found
}
