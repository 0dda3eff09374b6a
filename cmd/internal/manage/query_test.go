package manage_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/manage/managetest"
)

// TestKeysPaging walks through pages of every size: each key once, in order.
func TestKeysPaging(t *testing.T) {
	clock := &clock{start}
	s, _, _ := managetest.Open(t, func(o *manage.Options) { o.Now = clock.Now })
	var want []manage.Key
	for i := range 23 {
		if i%3 != 0 { // two or three keys share a moment
			clock.now = clock.now.Add(time.Nanosecond)
		}
		c := create(t, s, fmt.Sprintf("key %d", i))
		want = append(want, c.Key)
	}
	for i := range want {
		if i%4 == 0 {
			require.NoError(t, s.Revoke(t.Context(), by, want[i].ID))
			want[i].Revoked, want[i].Updated = clock.now, clock.now
		}
	}
	slices.SortFunc(want, func(a, b manage.Key) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return strings.Compare(b.ID, a.ID)
	})
	active := slices.DeleteFunc(slices.Clone(want), func(k manage.Key) bool { return !k.Active() })
	walk := func(q manage.KeyQuery) (keys []manage.Key) {
		for {
			page, err := s.Keys(t.Context(), q)
			require.NoError(t, err)
			keys = append(keys, page.Keys...)
			require.LessOrEqual(t, len(keys), len(want), "the pages have no end")
			if q.Cursor = page.Next; q.Cursor == "" {
				return keys
			}
			require.Len(t, page.Keys, q.Limit)
		}
	}
	for limit := 1; limit <= 24; limit++ {
		require.Equal(t, active, walk(manage.KeyQuery{Limit: limit}), "limit %d", limit)
		require.Equal(t, want, walk(manage.KeyQuery{Limit: limit, Revoked: true}), "limit %d", limit)
	}

	// A page that was begun does not change with what is created meanwhile.
	page, err := s.Keys(t.Context(), manage.KeyQuery{Limit: 5})
	require.NoError(t, err)
	clock.now = clock.now.Add(time.Hour)
	create(t, s, "newer")
	page, err = s.Keys(t.Context(), manage.KeyQuery{Limit: 5, Cursor: page.Next})
	require.NoError(t, err)
	require.Equal(t, active[5:10], page.Keys)
}

func TestPageSizes(t *testing.T) {
	s, _, _ := managetest.Open(t)
	_, err := s.Import(t.Context(), by, func(yield func(manage.NewKey) bool) {
		for range manage.MaxLimit + 1 {
			if !yield(manage.NewKey{Name: "a", Scopes: []string{"read"}}) {
				return
			}
		}
	})
	require.NoError(t, err)
	for limit, want := range map[int]int{-1: manage.DefaultLimit, 0: manage.DefaultLimit, 1: 1, manage.MaxLimit: manage.MaxLimit, 1 << 40: manage.MaxLimit} {
		page, err := s.Keys(t.Context(), manage.KeyQuery{Limit: limit})
		require.NoError(t, err)
		require.Len(t, page.Keys, want)
		require.NotEmpty(t, page.Next)
		audit, err := s.Audit(t.Context(), manage.AuditQuery{Limit: limit})
		require.NoError(t, err)
		require.Len(t, audit.Records, want)
		require.NotEmpty(t, audit.Next)
	}
}

func TestSearch(t *testing.T) {
	s, _, _ := managetest.Open(t)
	byName := make(map[string]manage.Key)
	for _, name := range []string{"Straße NORD", "100% of it", "100 of it", "snake_case", "snakeXcase", "Ünïcode", "ΣΊΣΥΦΟΣ", "a*b", "[x]", metacharacters} {
		byName[strings.TrimSpace(name)] = create(t, s, name).Key
	}
	id := byName["a*b"].ID
	for search, want := range map[string][]string{
		"nord":                      {"Straße NORD"},
		"STRASSE":                   nil, // simple folding: one character stays one
		"STRAßE":                    {"Straße NORD"},
		"STRA\u1e9eE nord":          {"Straße NORD"}, // the capital of ß
		"100%":                      {"100% of it"},
		"100 ":                      {"100 of it", "100% of it"},
		"e_c":                       {"snake_case"},
		"SNAKEx":                    {"snakeXcase"},
		"üNÏ":                       {"Ünïcode"},
		"σίσυφος":                   {"ΣΊΣΥΦΟΣ"},
		"*":                         {"a*b", strings.TrimSpace(metacharacters)},
		"[X]":                       {"[x]"},
		"'; drop":                   {strings.TrimSpace(metacharacters)},
		metacharacters:              {strings.TrimSpace(metacharacters)},
		"' OR '1'='1":               nil,
		"\x00":                      nil,
		"\xff":                      nil,
		"nobody":                    nil,
		id:                          {"a*b"},
		id[3:12]:                    {"a*b"},
		strings.ToUpper(id):         {"a*b"},
		strings.Repeat("x", 32<<10): nil,
	} {
		page, err := s.Keys(t.Context(), manage.KeyQuery{Search: search})
		require.NoError(t, err)
		var got []string
		for _, k := range page.Keys {
			got = append(got, k.Name)
		}
		require.ElementsMatch(t, want, got, "%.40q", search)
	}
	page, err := s.Keys(t.Context(), manage.KeyQuery{Search: "  "})
	require.NoError(t, err)
	require.Len(t, page.Keys, len(byName), "white space is no search")

	// A search goes on behind a cursor, and finds revoked keys when asked.
	require.NoError(t, s.Revoke(t.Context(), by, byName["snake_case"].ID))
	page, err = s.Keys(t.Context(), manage.KeyQuery{Search: "snake"})
	require.NoError(t, err)
	require.Len(t, page.Keys, 1)
	page, err = s.Keys(t.Context(), manage.KeyQuery{Search: "snake", Revoked: true, Limit: 1})
	require.NoError(t, err)
	require.Len(t, page.Keys, 1)
	page, err = s.Keys(t.Context(), manage.KeyQuery{Search: "snake", Revoked: true, Limit: 1, Cursor: page.Next})
	require.NoError(t, err)
	require.Len(t, page.Keys, 1)
	require.Empty(t, page.Next)
}
