package manage_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/manage/managetest"
)

// save replaces the list of a key.
func save(s *manage.Service, id string, entries ...manage.ListEntry) (manage.Created, error) {
	return s.SetAllowlist(context.Background(), by, id, manage.ListEdit{Entries: entries})
}

func TestFaultyListKeepsThePrevious(t *testing.T) {
	s, engine, _ := managetest.Open(t)
	c := create(t, s, "a", office...)
	before := engine.Snapshot().Revision()
	for _, bad := range [][]manage.ListEntry{
		list("10.0.0.1"), list("x"), list(""), list("203.0.113.5/24"), list("0.0.0.0/0"), list("fe80::1%eth0"),
		list("203.0.113.5", "203.0.113.5/32"), list(metacharacters), list(strings.Repeat("1", 32<<10)),
		{{Entry: "203.0.113.5", Label: strings.Repeat("x", 101)}}, {{Entry: "203.0.113.5", Label: "\xff"}},
		{{Entry: "203.0.113.5", Label: "a\nb"}}, list(make([]string, 21)...),
	} {
		_, err := save(s, c.Key.ID, bad...)
		var invalid *ipallow.ValidationError
		require.ErrorAs(t, err, &invalid)
		_, found := manage.Faults(err)
		require.Same(t, invalid, found)
	}
	l, err := s.Allowlist(t.Context(), c.Key.ID)
	require.NoError(t, err)
	require.Equal(t, c.List, l)
	require.Equal(t, before, engine.Snapshot().Revision())
}

func TestListsAreKeptAsTheyAre(t *testing.T) {
	st := newStore(t)
	s := st.open()
	lists := [][]manage.ListEntry{
		{{Entry: "203.0.113.5/32"}},
		{{Entry: "203.0.113.5/32", Label: " two  spaces "}, {Entry: "2001:db8:1::/48", Label: "203.0.113.0/24"}},
		{{Entry: "2001:db8::/48", Label: metacharacters}, {Entry: "203.0.112.0/20", Label: strings.Repeat("𝕏", 100)}},
		{{Entry: "198.51.100.0/24", Label: " "}, {Entry: "198.51.100.1/32", Label: "\u2028"}},
		nil,
	}
	ids := make([]string, len(lists))
	for i, l := range lists {
		ids[i] = create(t, s, "a", l...).Key.ID
	}
	for range 2 {
		for i, want := range lists {
			l, err := s.Allowlist(t.Context(), ids[i])
			require.NoError(t, err)
			require.Equal(t, len(want), len(l.Entries))
			if len(want) == 0 {
				continue
			}
			require.Equal(t, want, texts(l.Entries))
			inForce, _ := st.Engine.Snapshot().Entries(ids[i])
			require.Equal(t, l.Entries, inForce)
		}
		require.NoError(t, s.Close())
		s = st.open()
	}
	c, err := save(s, ids[0], list("203.0.113.0/24", "203.0.113.5", "::ffff:198.51.100.7")...)
	require.NoError(t, err)
	require.Equal(t, list("203.0.113.0/24", "203.0.113.5/32", "198.51.100.7/32"), texts(c.List.Entries))
	require.Len(t, c.Warnings, 1, "203.0.113.5 is covered")
	require.Equal(t, ipallow.CodeRedundant, c.Warnings[0].Code)
	require.Equal(t, 3, c.Key.Entries)
	require.Empty(t, c.Token, "no secret is shown")
	rotated, err := s.Rotate(t.Context(), by, ids[0])
	require.NoError(t, err)
	require.Len(t, rotated.Warnings, 1)
}

func TestTag(t *testing.T) {
	clock := &clock{start}
	s, _, _ := managetest.Open(t, func(o *manage.Options) { o.Now = clock.Now })
	c := create(t, s, "a")
	id := c.Key.ID
	tags := map[string]bool{c.List.Tag: true}
	require.NotEmpty(t, c.List.Tag, "a list that was never set has a tag too")
	require.True(t, c.List.Updated.IsZero())
	for i := range 20 {
		clock.now = clock.now.Add(time.Second)
		entries := list("203.0.113.5")
		if i%2 == 1 {
			entries = nil // again and again the same two lists
		}
		set, err := save(s, id, entries...)
		require.NoError(t, err)
		require.False(t, tags[set.List.Tag], "a tag came back")
		require.Equal(t, clock.now, set.List.Updated)
		tags[set.List.Tag] = true
	}
	now, err := s.Allowlist(t.Context(), id)
	require.NoError(t, err)

	// A save that changes nothing leaves no trace.
	trail, err := s.Audit(t.Context(), manage.AuditQuery{})
	require.NoError(t, err)
	clock.now = clock.now.Add(time.Second)
	same, err := s.SetAllowlist(t.Context(), by, id, manage.ListEdit{IfMatch: now.Tag})
	require.NoError(t, err)
	require.Equal(t, now, same.List)
	require.Equal(t, now.Updated, same.Key.Updated)
	after, err := s.Audit(t.Context(), manage.AuditQuery{})
	require.NoError(t, err)
	require.Equal(t, trail, after)

	// Nor does an edit of the key, a rotation or a label of another key.
	_, err = s.Edit(t.Context(), by, id, manage.KeyEdit{Name: ptr("b")})
	require.NoError(t, err)
	rotated, err := s.Rotate(t.Context(), by, id)
	require.NoError(t, err)
	require.Equal(t, now, rotated.List)

	// The order and the labels are part of the list.
	a, err := save(s, id, list("203.0.113.5", "198.51.100.7")...)
	require.NoError(t, err)
	b, err := save(s, id, list("198.51.100.7", "203.0.113.5")...)
	require.NoError(t, err)
	require.NotEqual(t, a.List.Tag, b.List.Tag)
	d, err := save(s, id, manage.ListEntry{Entry: "198.51.100.7", Label: "x"}, manage.ListEntry{Entry: "203.0.113.5"})
	require.NoError(t, err)
	require.NotEqual(t, b.List.Tag, d.List.Tag)

	for _, tag := range []string{a.List.Tag, "*", "x", metacharacters, strings.Repeat("x", 32<<10)} {
		_, err = s.SetAllowlist(t.Context(), by, id, manage.ListEdit{IfMatch: tag})
		require.ErrorIs(t, err, manage.ErrConflict)
	}
}

func TestTry(t *testing.T) {
	s, engine, _ := managetest.Open(t)
	id := create(t, s, "a", list("203.0.113.0/24", "203.0.113.7", "2001:db8::/48")...).Key.ID
	addrs := []netip.Addr{inside, netip.MustParseAddr("203.0.113.8"), netip.MustParseAddr("::ffff:203.0.113.7"), outside,
		netip.MustParseAddr("2001:db8::9%eth0"), {}}
	revision := engine.Snapshot().Revision()

	trial, err := s.Try(t.Context(), by, id, nil, addrs)
	require.NoError(t, err)
	var got []string
	for i, r := range trial.Results {
		require.Equal(t, addrs[i], r.Addr)
		require.Equal(t, engine.Check(id, addrs[i]), r.Verdict, "a trial of what is in force says what is")
		if r.Match != nil {
			got = append(got, fmt.Sprintf("%s %s %d", r.Verdict, r.Match, r.Index))
		} else {
			require.Equal(t, -1, r.Index)
			got = append(got, r.Verdict.String())
		}
	}
	require.Equal(t, []string{"allowed 203.0.113.7/32 1", "allowed 203.0.113.0/24 0", "allowed 203.0.113.7/32 1",
		"denied", "allowed 2001:db8::/48 2", "denied"}, got)
	require.Len(t, trial.Warnings, 1)
	require.False(t, trial.Unrestricts)
	require.Nil(t, trial.Lockout)

	proposed := list("198.51.100.7")
	trial, err = s.Try(t.Context(), by, id, &proposed, addrs)
	require.NoError(t, err)
	require.Equal(t, ipallow.Denied, trial.Results[0].Verdict)
	require.Equal(t, ipallow.Allowed, trial.Results[3].Verdict)
	require.False(t, trial.Unrestricts)

	empty := list()
	trial, err = s.Try(t.Context(), by, id, &empty, addrs)
	require.NoError(t, err)
	require.True(t, trial.Unrestricts)
	for _, r := range trial.Results {
		require.Equal(t, ipallow.Unrestricted, r.Verdict)
	}
	open := create(t, s, "open").Key.ID
	trial, err = s.Try(t.Context(), by, open, &empty, addrs)
	require.NoError(t, err)
	require.False(t, trial.Unrestricts, "it is unrestricted already")

	bad := list("x")
	_, err = s.Try(t.Context(), by, id, &bad, nil)
	_, invalid := manage.Faults(err)
	require.NotNil(t, invalid)
	_, err = s.Try(t.Context(), by, id, nil, make([]netip.Addr, manage.MaxTrial+1))
	fields, _ := manage.Faults(err)
	require.Equal(t, "addresses", fields[0].Field)
	trial, err = s.Try(t.Context(), by, id, nil, make([]netip.Addr, manage.MaxTrial))
	require.NoError(t, err)
	require.Len(t, trial.Results, manage.MaxTrial)
	require.Equal(t, revision, engine.Snapshot().Revision(), "a trial changes nothing")
}
