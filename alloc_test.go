package ipallow

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/ipallow/ipallow/internal/index"
	"github.com/stretchr/testify/require"
)

// The methods that a request passes through allocate nothing.
func TestNoAllocs(t *testing.T) {
	e := New(&Options{Policy: widest()})
	small := entries("203.0.113.0/24 label", "2001:db8::/48", "2001:db8:1::5/128")
	big := append(small[:3:3], fromNaive(gen.Distinct(1000))...)
	require.NoError(t, e.Set("small", small))
	require.NoError(t, e.Set("large", big))
	waiting := New(&Options{DenyUntilLoaded: true})
	list, table, s := Compile(small), Compile(big), e.Snapshot()
	hit4, miss4, mapped := addr("203.0.113.5"), addr("198.51.100.1"), addr("::ffff:203.0.113.5")
	hit6, hit6w, miss6, zoned := addr("2001:db8::1"), addr("2001:db8:1::5"), addr("2001:db8:2::"), addr("2001:db8::1%eth0")
	none, long, valid := netip.Addr{}, strings.Repeat("k", MaxKeyLen+1), small[:1]

	test := func(name string, fn func()) {
		t.Helper()
		require.Zero(t, testing.AllocsPerRun(100, fn), name)
	}
	test("Check hit v4", func() { e.Check("small", hit4) })
	test("Check miss v4", func() { e.Check("small", miss4) })
	test("Check mapped", func() { e.Check("small", mapped) })
	test("Check hit v6", func() { e.Check("small", hit6) })
	test("Check hit v6 longer than /64", func() { e.Check("small", hit6w) })
	test("Check miss v6", func() { e.Check("small", miss6) })
	test("Check zone", func() { e.Check("small", zoned) })
	test("Check no address", func() { e.Check("small", none) })
	test("Check large hit v4", func() { e.Check("large", hit4) })
	test("Check large miss v4", func() { e.Check("large", miss4) })
	test("Check large mapped", func() { e.Check("large", mapped) })
	test("Check large hit v6", func() { e.Check("large", hit6) })
	test("Check large miss v6", func() { e.Check("large", miss6) })
	test("Check large zone", func() { e.Check("large", zoned) })
	test("Check large no address", func() { e.Check("large", none) })
	test("Check unknown key", func() { e.Check("unknown", hit4) })
	test("Check empty key", func() { e.Check("", hit4) })
	test("Check key too long", func() { e.Check(long, hit4) })
	test("Check not loaded", func() { waiting.Check("small", hit4) })
	test("Snapshot", func() { e.Snapshot() })
	test("Snapshot.Check", func() { s.Check("small", hit4) })
	test("Snapshot.Len", func() { s.Len() })
	test("Snapshot.Revision", func() { s.Revision() })
	copies, text := 0.0, ""
	if index.CopiesLabels {
		copies = 1
	}
	require.Equal(t, copies, testing.AllocsPerRun(100, func() { text = s.Explain("small", hit4).Entry.Label }), "Explain hit")
	require.Equal(t, "label", text)
	test("Explain without a label", func() { s.Explain("small", hit6) })
	test("Explain large", func() { s.Explain("large", hit4) })
	test("Explain miss", func() { s.Explain("small", miss4) })
	test("Contains hit v4", func() { list.Contains(hit4) })
	test("Contains miss v4", func() { list.Contains(miss4) })
	test("Contains mapped", func() { list.Contains(mapped) })
	test("Contains hit v6", func() { list.Contains(hit6) })
	test("Contains zone", func() { list.Contains(zoned) })
	test("Contains large hit v4", func() { table.Contains(hit4) })
	test("Contains large miss v4", func() { table.Contains(miss4) })
	test("Contains large hit v6", func() { table.Contains(hit6) })
	test("Lookup hit v4", func() { list.Lookup(hit4) })
	test("Lookup miss v4", func() { list.Lookup(miss4) })
	test("Lookup hit v6", func() { list.Lookup(hit6) })
	test("Lookup large hit v4", func() { table.Lookup(hit4) })
	test("Lookup large miss v6", func() { table.Lookup(miss6) })
	test("Verdict.OK", func() { _ = Allowed.OK() })
	test("Verdict.String", func() { _ = Allowed.String() })
	test("ParseEntry v4", func() { _, _ = ParseEntry("203.0.113.0/24") })
	test("ParseEntry v6", func() { _, _ = ParseEntry("2001:db8::/48") })
	test("ParseEntry mapped", func() { _, _ = ParseEntry("::ffff:203.0.113.0/120") })
	test("Policy.Validate", func() { _ = DefaultPolicy().Validate(valid) })
}
