package ipallow

import (
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"testing"

	"github.com/ipallow/ipallow/internal/index"
	"github.com/ipallow/ipallow/internal/naive"
	"github.com/stretchr/testify/require"
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// entries reads "prefix" or "prefix label".
func entries(texts ...string) []Entry {
	list := make([]Entry, len(texts))
	for i, t := range texts {
		p, label, _ := strings.Cut(t, " ")
		list[i] = Entry{Prefix: prefix(p), Label: label}
	}
	return list
}

// widest accepts everything that can be stored.
func widest() *Policy {
	return &Policy{MaxEntries: 1 << 20, MaxLabel: 1 << 10, AllowNonPublic: true}
}

func fromNaive(list []naive.Entry) []Entry {
	out := make([]Entry, len(list))
	for i, e := range list {
		out[i] = Entry(e)
	}
	return out
}

func toNaive(p Policy) naive.Policy { return naive.Policy(p) }

// literal prints a list so that it can be pasted into a test.
func literal(list []naive.Entry) string {
	var b strings.Builder
	b.WriteString("[]Entry{\n")
	for _, e := range list {
		if e.Prefix.IsValid() {
			fmt.Fprintf(&b, "\t{Prefix: netip.MustParsePrefix(%q), Label: %q},\n", e.Prefix, e.Label)
		} else {
			fmt.Fprintf(&b, "\t{Label: %q},\n", e.Label)
		}
	}
	return b.String() + "}"
}

func addrLiteral(a netip.Addr) string {
	if !a.IsValid() {
		return "netip.Addr{}"
	}
	return fmt.Sprintf("netip.MustParseAddr(%q)", a)
}

// tally counts outcomes, so that a test that saw only one kind fails.
type tally map[string]int

func (n tally) require(t testing.TB, least int, kinds ...string) {
	t.Helper()
	for _, k := range kinds {
		require.GreaterOrEqual(t, n[k], least, "too few cases of %s: %v", k, n)
	}
}

// lists is a sequence for Replace.
func lists(kv ...any) iter.Seq2[string, []Entry] {
	return func(yield func(string, []Entry) bool) {
		for i := 0; i < len(kv); i += 2 {
			if !yield(kv[i].(string), kv[i+1].([]Entry)) {
				return
			}
		}
	}
}

// codes returns the codes of a validation error with their indexes.
func codes(t testing.TB, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var v *ValidationError
	require.ErrorAs(t, err, &v)
	var list []string
	for _, f := range v.Entries {
		list = append(list, fmt.Sprintf("%d %s", f.Index, f.Code))
	}
	return list
}

// A listUnderTest is a list and every way to ask it; check compares them all
// with the naive answer.
type listUnderTest struct {
	list   []naive.Entry // any prefixes
	table  *Allowlist
	engine *Engine // holds the list as listKeys; nil if the list is not valid or empty
}

// Check has a path of its own for keys of at least 16 bytes; the first is of
// the usual length.
var listKeys = [2]string{"ipk_0123456789abcdefghijklmnopqrs", "k"}

// newListUnderTest compiles the list, and gives it to an engine if it can be
// stored. stored says whether it was.
func newListUnderTest(t testing.TB, list []naive.Entry) (l listUnderTest, stored bool) {
	t.Helper()
	l = listUnderTest{list: list, table: Compile(fromNaive(list))}
	canonical, faults := toNaive(*widest()).Validate(list)
	e := New(&Options{Policy: widest()})
	err := e.Update(func(tx *Tx) error {
		for _, key := range listKeys {
			_ = tx.Set(key, fromNaive(list)) // Update reports it
		}
		return nil
	})
	require.Equal(t, len(faults) == 0, err == nil, "Update: %v\nnaive: %v\n%s", err, faults, literal(list))
	checkInvariants(e.Snapshot())
	if err != nil || len(list) == 0 {
		return l, false
	}
	for _, key := range listKeys {
		got, ok := e.Snapshot().Entries(key)
		require.True(t, ok)
		require.Equal(t, fromNaive(canonical), got, "what was set is read back, canonical\n%s", literal(list))
	}
	l.engine = e
	return l, true
}

// check asks for one address. It avoids the cost of require on the way where
// all is well: exhaustive tests come here millions of times.
func (l *listUnderTest) check(t testing.TB, a netip.Addr) bool {
	want := naive.Lookup(l.list, a)
	if got := l.table.Contains(a); got != (want >= 0) {
		t.Fatalf("Compile(list).Contains(%s) = %t, want %t\nlist := %s", addrLiteral(a), got, want >= 0, literal(l.list))
	}
	var wantEntry Entry
	if want >= 0 {
		wantEntry = Entry(l.list[want])
		wantEntry.Prefix, _ = naive.Canonical(wantEntry.Prefix)
	}
	if got, ok := l.table.Lookup(a); got != wantEntry || ok != (want >= 0) {
		t.Fatalf("Compile(list).Lookup(%s) = %v, %t, want %v, %t\nlist := %s", addrLiteral(a), got, ok, wantEntry, want >= 0, literal(l.list))
	}
	if l.engine == nil {
		return want >= 0
	}
	verdict := Denied
	if want >= 0 {
		verdict = Allowed
	}
	for _, key := range listKeys {
		if got := l.engine.Check(key, a); got != verdict {
			t.Fatalf("Check(%q, which has the list, %s) = %v, want %v\nlist := %s", key, addrLiteral(a), got, verdict, literal(l.list))
		}
	}
	wantX := Explanation{
		Verdict: verdict, Matched: want >= 0, Entry: wantEntry, Index: max(want, 0),
		Entries: len(l.list), Addr: naive.CanonicalAddr(a), Loaded: true, Revision: 2,
	}
	if got := l.engine.Explain(listKeys[0], a); got != wantX {
		t.Fatalf("Explain(key of the list, %s) =\n%+v, want\n%+v\nlist := %s", addrLiteral(a), got, wantX, literal(l.list))
	}
	return want >= 0
}

// count checks all the addresses, and adds how many match and how many do not.
func (l *listUnderTest) count(t testing.TB, addrs []netip.Addr, hits, misses *int) {
	for _, a := range addrs {
		if l.check(t, a) {
			*hits++
		} else {
			*misses++
		}
	}
}

func checkInvariants(s *Snapshot) { index.CheckInvariants(s.index()) }
