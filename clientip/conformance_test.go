package clientip

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"os"
	"testing"
)

// A conformanceFile is the published case table; conformance/CLIENTIP.md
// describes it.
type conformanceFile struct {
	Version int `json:"version"`
	Limits  struct {
		MaxElements    int `json:"max_elements"`
		MaxHeaderBytes int `json:"max_header_bytes"`
	} `json:"limits"`
	Cases []conformanceCase `json:"cases"`
}

type conformanceCase struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
	Attack bool   `json:"attack"`
	Source struct {
		Mode          string         `json:"mode"`
		Trusted       []netip.Prefix `json:"trusted"`
		Hops          int            `json:"hops"`
		Header        string         `json:"header"`
		TrustAnyPeer  bool           `json:"trust_any_peer"`
		TrustUnixPeer bool           `json:"trust_unix_peer"`
	} `json:"source"`
	Peer      string      `json:"peer"`
	Headers   [][2]string `json:"headers"`
	Address   *netip.Addr `json:"address"`
	NoAddress string      `json:"no_address"`
}

func readConformance(t testing.TB) conformanceFile {
	t.Helper()
	f, err := os.Open("../conformance/clientip.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dec := json.NewDecoder(f)
	dec.DisallowUnknownFields()
	var file conformanceFile
	if err := dec.Decode(&file); err != nil {
		t.Fatal(err)
	}
	return file
}

var modesByName = map[string]Mode{
	"peer":            Peer,
	"x_forwarded_for": XForwardedFor,
	"forwarded":       Forwarded,
	"single_header":   SingleHeader,
}

func (c *conformanceCase) options(t testing.TB) Options {
	t.Helper()
	mode, ok := modesByName[c.Source.Mode]
	if !ok || mode.String() != c.Source.Mode {
		t.Fatalf("%s: mode %q", c.Name, c.Source.Mode)
	}
	return Options{
		Mode:           mode,
		Header:         c.Source.Header,
		TrustedProxies: c.Source.Trusted,
		TrustedHops:    c.Source.Hops,
		TrustAnyPeer:   c.Source.TrustAnyPeer,
		TrustUnixPeer:  c.Source.TrustUnixPeer,
	}
}

func TestConformance(t *testing.T) {
	file := readConformance(t)
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			header := http.Header{}
			for _, h := range c.Headers {
				header.Add(h[0], h[1])
			}
			src := mustNew(t, c.options(t))
			got := src.From(c.Peer, header)

			gotText, wantText := "none: "+got.Reason.String(), "none: "+c.NoAddress
			if got.OK() {
				gotText = got.Addr.String()
			}
			if c.Address != nil {
				wantText = c.Address.String()
			}
			if gotText != wantText {
				t.Errorf("%s\nsource %+v, peer %q, headers %q\ngot  %s\nwant %s",
					c.Reason, c.Source, c.Peer, c.Headers, gotText, wantText)
			}
			if other := src.FromValues(c.Peer, header.Values(src.Header())); other != got {
				t.Errorf("FromValues gives %v, From gives %v", other, got)
			}
		})
	}
}

// TestConformanceTable checks the table itself.
func TestConformanceTable(t *testing.T) {
	file := readConformance(t)
	if file.Version != 1 || file.Limits.MaxElements != MaxElements || file.Limits.MaxHeaderBytes != MaxHeaderBytes {
		t.Errorf("version %d, limits %+v", file.Version, file.Limits)
	}
	names := map[string]bool{}
	outcomes := map[string]int{}
	modes := map[string]int{}
	attacks := 0
	for _, c := range file.Cases {
		if c.Name == "" || names[c.Name] {
			t.Errorf("the name %q is empty or used twice", c.Name)
		}
		names[c.Name] = true
		if c.Reason == "" {
			t.Errorf("%s: no reason", c.Name)
		}
		if (c.Address != nil) == (c.NoAddress != "") {
			t.Errorf("%s: exactly one of address and no_address is wanted", c.Name)
		}
		if c.Address != nil && (*c.Address != c.Address.Unmap() || c.Address.Zone() != "") {
			t.Errorf("%s: %v is not canonical", c.Name, c.Address)
		}
		if c.Attack {
			attacks++
			if c.Address != nil && *c.Address == netip.MustParseAddr("6.6.6.6") {
				t.Errorf("%s: the attack succeeds", c.Name)
			}
		}
		if c.NoAddress == "" {
			outcomes["found"]++
		}
		outcomes[c.NoAddress]++
		modes[c.Source.Mode]++
	}
	if n := len(file.Cases); n < 150 {
		t.Errorf("%d cases, want at least 150", n)
	}
	if attacks < 30 {
		t.Errorf("%d attacks, want at least 30", attacks)
	}
	for r := Found; r < numReasons; r++ {
		if outcomes[r.String()] == 0 {
			t.Errorf("no case has the outcome %v", r)
		}
	}
	for mode := range modesByName {
		if modes[mode] < 20 {
			t.Errorf("only %d cases of mode %s", modes[mode], mode)
		}
	}
}

// TestConformanceNaive holds the reference against the published table, so
// that the fuzz tests compare with something that is itself tested.
func TestConformanceNaive(t *testing.T) {
	for _, c := range readConformance(t).Cases {
		o := c.options(t)
		for i, p := range o.TrustedProxies {
			if p.Addr().Is4In6() { // not in the reference
				o.TrustedProxies[i] = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
			}
		}
		header := http.Header{}
		for _, h := range c.Headers {
			header.Add(h[0], h[1])
		}
		lines := header.Values(mustNew(t, o).Header())
		got := naive(naiveConfig{c.Source.Mode, o.TrustedProxies, o.TrustedHops, o.TrustAnyPeer, o.TrustUnixPeer}, c.Peer, lines)
		want := Result{Reason: Found}
		if c.Address != nil {
			want.Addr = *c.Address
		}
		if got.Addr != want.Addr || c.Address == nil && got.Reason.String() != c.NoAddress {
			t.Errorf("%s: the reference gives %v, want %v %s", c.Name, got, c.Address, c.NoAddress)
		}
	}
}
