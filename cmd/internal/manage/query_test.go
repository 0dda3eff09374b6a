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

// TestKeyConditions compares every combination of conditions, order and
// direction with a loop over all keys.
func TestKeyConditions(t *testing.T) {
	clock := &clock{start.Add(-90 * 24 * time.Hour)}
	s, _, _ := managetest.Open(t, func(o *manage.Options) { o.Now = clock.Now })
	lists := [][]manage.ListEntry{
		nil, list("203.0.113.5"), list("203.0.0.0/16", "2001:db8::1"), list("2001:db8::/40"), list("198.51.100.0/24"), list("2001:db8::/48"),
	}
	broad := []bool{false, false, true, true, false, false}
	type stored struct {
		manage.Key
		list int
	}
	var all []stored
	for i := range 24 {
		clock.now = clock.now.Add(time.Hour)
		c, err := s.Create(t.Context(), by, manage.NewKey{
			Name: fmt.Sprintf("key %c", 'a'+(i*7)%24), Description: fmt.Sprintf("Team %d Ä", i%3), Scopes: []string{"read"}, Allowlist: lists[i%len(lists)],
		})
		require.NoError(t, err)
		all = append(all, stored{c.Key, i % len(lists)})
	}
	clock.now = start
	for i := range all {
		if i%5 == 4 {
			require.NoError(t, s.Revoke(t.Context(), by, all[i].ID))
		}
		k, err := s.Key(t.Context(), all[i].ID)
		require.NoError(t, err)
		all[i].Key = k
	}
	yes, no := true, false
	found := 0
	for _, search := range []string{"", "key b", "TEAM 1 ä", "203.0.113.5", "::ffff:203.0.113.5", "203.0.113.0/24", "2001:db8::9", "198.51"} {
		for _, restricted := range []*bool{nil, &yes, &no} {
			for mask := range 8 {
				q := manage.KeyQuery{Search: search, Restricted: restricted, Revoked: mask&1 != 0, Unused: mask&2 != 0, Broad: mask&4 != 0, Limit: 3}
				var want []manage.Key
				for _, k := range all {
					covers := map[string][]int{
						"203.0.113.5": {1, 2}, "::ffff:203.0.113.5": {1, 2}, "203.0.113.0/24": {2}, "2001:db8::9": {3, 5}, "198.51": {4},
					}[search]
					text := strings.Contains(strings.ToLower(k.Name), strings.ToLower(search)) ||
						strings.Contains(strings.ToLower(k.Description), strings.ToLower(search))
					if (text || slices.Contains(covers, k.list)) && (q.Revoked || k.Active()) &&
						(restricted == nil || *restricted == (k.Entries > 0)) && (!q.Broad || broad[k.list]) {
						want = append(want, k.Key)
					}
				}
				for order, less := range map[manage.KeyOrder]func(a, b manage.Key) int{
					manage.NewestFirst: func(a, b manage.Key) int { return b.Created.Compare(a.Created) },
					manage.ByName:      func(a, b manage.Key) int { return strings.Compare(a.Name, b.Name) },
				} {
					q.Order, q.Cursor = order, ""
					slices.SortFunc(want, less)
					var got, back []manage.Key
					page, err := s.Keys(t.Context(), q)
					require.NoError(t, err)
					for {
						require.Equal(t, len(want), page.Total, "%+v", q)
						got = append(got, page.Keys...)
						if page.Next == "" {
							break
						}
						q.Cursor = page.Next
						page, err = s.Keys(t.Context(), q)
						require.NoError(t, err)
					}
					for page.Previous != "" {
						q.Cursor = page.Previous
						page, err = s.Keys(t.Context(), q)
						require.NoError(t, err)
						back = append(slices.Clone(page.Keys), back...)
					}
					names := func(keys []manage.Key) (out []string) {
						for _, k := range keys {
							out = append(out, k.Name)
						}
						return out
					}
					require.Equal(t, names(want), names(got), "%+v", q)
					require.True(t, slices.Equal(names(want)[:len(back)], names(back)), "back: %+v", q)
					found += len(want)
				}
			}
		}
	}
	require.Greater(t, found, 200)
}

func TestKeysByLastUse(t *testing.T) {
	clock := &clock{start}
	s, _, ring := managetest.Open(t, func(o *manage.Options) { o.Now = clock.Now })
	var ids []string
	for i := range 3 {
		ids = append(ids, create(t, s, fmt.Sprint(i)).Key.ID)
	}
	ring.Get(ids[1]).Used(start.Add(-40 * 24 * time.Hour))
	ring.Get(ids[0]).Used(start.Add(-time.Hour))
	require.NoError(t, manage.Flush(s))
	page, err := s.Keys(t.Context(), manage.KeyQuery{Order: manage.LastUsedFirst})
	require.NoError(t, err)
	require.Equal(t, []string{ids[0], ids[1], ids[2]}, []string{page.Keys[0].ID, page.Keys[1].ID, page.Keys[2].ID})
	page, err = s.Keys(t.Context(), manage.KeyQuery{Unused: true, Order: manage.ByName})
	require.NoError(t, err)
	require.Len(t, page.Keys, 2)
	require.Equal(t, ids[1], page.Keys[0].ID)
}
