package conformance_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/conformance"
	"github.com/stretchr/testify/require"
)

func load(t *testing.T) []conformance.Case {
	t.Helper()
	v, err := conformance.Load()
	require.NoError(t, err)
	return v.Cases
}

// TestEngine puts all cases to package ipallow.
func TestEngine(t *testing.T) {
	conformance.Run(t, conformance.Engine())
	report := conformance.Check(conformance.Engine())
	require.True(t, report.OK(), report.Failures)
}

// TestParseEntry puts the syntactic cases to ParseEntry, which applies no
// policy, and the others to it as texts that it must take.
func TestParseEntry(t *testing.T) {
	for _, c := range load(t) {
		if c.Question.Kind != conformance.KindEntry {
			continue
		}
		e, err := ipallow.ParseEntry(*c.Question.Entry)
		switch code := ipallow.Code(c.Want.Code); code {
		case ipallow.CodeInvalidSyntax, ipallow.CodeZoneNotAllowed, ipallow.CodeHostBitsSet:
			var fault *ipallow.EntryError
			require.ErrorAs(t, err, &fault, c.Name)
			require.Equal(t, code, fault.Code, c.Name)
		default:
			require.NoError(t, err, c.Name)
			if code == "" {
				require.Equal(t, c.Want.Canonical, e.String(), c.Name)
			}
		}
	}
}

// TestValidate puts the accepted lists, and those that only a policy refuses,
// to Validate as prefixes.
func TestValidate(t *testing.T) {
	accepted, refused := 0, 0
	for _, c := range load(t) {
		if c.Question.Kind != conformance.KindList {
			continue
		}
		entries := make([]ipallow.Entry, 0, len(c.Question.Entries))
		for _, text := range c.Question.Entries {
			if e, err := ipallow.ParseEntry(text.Entry); err == nil {
				e.Label, err = text.LabelBytes()
				require.NoError(t, err)
				entries = append(entries, e)
			}
		}
		if len(entries) < len(c.Question.Entries) {
			continue // some are no prefixes
		}
		var codes, want []string
		var invalid *ipallow.ValidationError
		if err := ipallow.Policy(c.Question.Policy).Validate(entries); err != nil {
			require.ErrorAs(t, err, &invalid, c.Name)
			for _, f := range invalid.Entries {
				codes = append(codes, string(f.Code))
			}
			refused++
		} else {
			accepted++
		}
		for _, f := range c.Want.Faults {
			want = append(want, f.Code)
		}
		require.ElementsMatch(t, want, codes, c.Name)
	}
	require.Positive(t, accepted)
	require.Positive(t, refused)
}

// TestCompile puts the verdicts to a compiled list without an engine.
func TestCompile(t *testing.T) {
	matched, missed := 0, 0
	for _, c := range load(t) {
		if c.Question.Kind != conformance.KindVerdict {
			continue
		}
		var entries []ipallow.Entry
		for _, text := range c.Question.Entries {
			e, err := ipallow.ParseEntry(text.Entry)
			require.NoError(t, err, c.Name)
			entries = append(entries, ipallow.Entry{Prefix: e.Prefix, Label: text.Label})
		}
		var addr netip.Addr
		if text := *c.Question.Address; text != "" {
			bare, zone, _ := strings.Cut(text, "%")
			addr = netip.MustParseAddr(bare).WithZone(zone)
		}
		list := ipallow.Compile(entries)
		e, ok := list.Lookup(addr)
		require.Equal(t, c.Want.Match != nil, ok, c.Name)
		require.Equal(t, ok, list.Contains(addr), c.Name)
		if !ok {
			missed++
			continue
		}
		matched++
		require.Equal(t, c.Want.Match.Entry, e.String(), c.Name)
		require.Equal(t, c.Want.Match.Label, e.Label, c.Name)
	}
	require.Positive(t, matched)
	require.Positive(t, missed)
}

// TestCoverage checks the table itself: enough cases, unique names, and every
// outcome that there is.
func TestCoverage(t *testing.T) {
	names, outcomes, files := map[string]bool{}, map[string]int{}, map[string]int{}
	for _, c := range load(t) {
		require.NotEmpty(t, c.Name)
		require.NotEmpty(t, c.Reason, c.Name)
		require.False(t, names[c.Name], "the name %q is used twice", c.Name)
		names[c.Name] = true
		files[c.File]++
		switch c.Question.Kind {
		case conformance.KindEntry:
			outcomes["entry "+c.Want.Code]++
		case conformance.KindList:
			for _, f := range c.Want.Faults {
				outcomes["list "+f.Code]++
			}
			for _, w := range c.Want.Warnings {
				outcomes["list "+w.Code]++
			}
			if len(c.Want.Faults)+len(c.Want.Warnings) == 0 {
				outcomes["list "]++
			}
		case conformance.KindVerdict:
			outcomes["verdict "+c.Want.Verdict]++
		case conformance.KindSequence:
			for i, s := range c.Want.Steps {
				if s.OK {
					outcomes["step made: "+c.Question.Steps[i].Op]++
				} else {
					outcomes["step refused: "+c.Question.Steps[i].Op]++
				}
				for _, p := range s.Probes {
					outcomes["probe "+p.Verdict]++
				}
			}
		}
	}
	require.GreaterOrEqual(t, len(names), 480)
	for _, file := range []string{"entries", "lists", "verdicts", "sequences"} {
		require.GreaterOrEqual(t, files[file], 50, file)
	}
	for _, o := range []string{
		"entry ", "entry invalid_syntax", "entry zone_not_allowed", "entry host_bits_set", "entry too_broad", "entry not_public",
		"list ", "list redundant", "list invalid_syntax", "list zone_not_allowed", "list host_bits_set", "list too_broad",
		"list not_public", "list duplicate", "list too_many_entries", "list label_too_long", "list label_invalid",
		"verdict allowed", "verdict denied", "verdict unrestricted",
		"step made: set", "step made: delete", "step made: update", "step made: replace",
		"step refused: set", "step refused: update", "step refused: replace",
		"probe allowed", "probe denied", "probe unrestricted", "probe ",
	} {
		require.Positive(t, outcomes[o], o)
	}
	t.Logf("%d cases: %v %v", len(names), files, outcomes)
}

// TestRoundTrip checks that a question survives the wire, so that a program
// on the other side is asked the same thing.
func TestRoundTrip(t *testing.T) {
	for _, c := range load(t) {
		line, err := json.Marshal(c.Question)
		require.NoError(t, err)
		q, err := conformance.ParseQuestion(line)
		require.NoError(t, err, c.Name)
		require.Equal(t, c.Question, q)

		line, err = json.Marshal(conformance.Engine().Answer(q))
		require.NoError(t, err)
		a, err := conformance.ParseAnswer(line)
		require.NoError(t, err, c.Name)
		require.Equal(t, c.Name, a.ID)
		require.Nil(t, c.Judge(a))
	}
}

func TestParseQuestionRefuses(t *testing.T) {
	for _, c := range []struct{ line, why string }{
		{``, "nothing"},
		{`{`, "cut off"},
		{`[]`, "not an object"},
		{`{"version":1,"id":"x","kind":"entry","entry":"a"} {}`, "two values"},
		{`{"version":2,"id":"x","kind":"entry","entry":"a"}`, "a later version"},
		{`{"id":"x","kind":"entry","entry":"a"}`, "no version"},
		{`{"version":1,"id":"x","kind":"route"}`, "an unknown kind"},
		{`{"version":1,"id":"x","kind":"entry","entry":"a","ask":1}`, "an unknown member"},
		{`{"version":1,"id":"x","kind":"entry"}`, "no entry"},
		{`{"version":1,"id":"x","kind":"list"}`, "no entries"},
		{`{"version":1,"id":"x","kind":"verdict","entries":[]}`, "no address"},
		{`{"version":1,"id":"x","kind":"sequence","steps":[]}`, "no steps"},
	} {
		_, err := conformance.ParseQuestion([]byte(c.line))
		require.Error(t, err, c.why)
	}
	q, err := conformance.ParseQuestion([]byte(`{"version":1,"id":"x","kind":"entry","entry":"a","policy":{"min_bits4":0}}`))
	require.NoError(t, err)
	want := conformance.DefaultPolicy()
	want.MinBits4 = 0
	require.Equal(t, want, q.Policy, "members that are missing are the default")
}
