package manage_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/manage/managetest"
)

func TestAudit(t *testing.T) {
	clock := &clock{start}
	s, _, _ := managetest.Open(t, func(o *manage.Options) { o.Now = clock.Now })
	page := manage.Actor{Name: "page", Addr: netip.MustParseAddr("::ffff:192.0.2.1")}
	c, err := s.Create(t.Context(), page, manage.NewKey{Name: metacharacters, Description: "one\ntwo", Scopes: []string{"read"},
		Allowlist: []manage.ListEntry{{Entry: "203.0.113.5", Label: metacharacters}}})
	require.NoError(t, err)
	id := c.Key.ID
	name := strings.TrimSpace(metacharacters)
	created := manage.AuditState{Name: name, Description: "one\ntwo", Scopes: []string{"read"},
		Allowlist: []manage.ListEntry{{Entry: "203.0.113.5/32", Label: metacharacters}}}
	listed := created
	listed.Allowlist = []manage.ListEntry{}
	edited := listed
	edited.Name, edited.Scopes, edited.ReportOnly = "b", []string{"read", "write"}, true
	revoked := edited
	revoked.Revoked = true

	clock.now = start.Add(time.Second)
	_, err = s.SetAllowlist(t.Context(), by, id, manage.ListEdit{})
	require.NoError(t, err)
	_, err = s.Edit(t.Context(), by, id, manage.KeyEdit{Name: ptr("b"), Scopes: &[]string{"write", "read"}, ReportOnly: ptr(true)})
	require.NoError(t, err)
	_, err = s.Rotate(t.Context(), by, id)
	require.NoError(t, err)
	other := create(t, s, "other")
	require.NoError(t, s.Revoke(t.Context(), by, id))

	later := start.Add(time.Second)
	want := []manage.AuditRecord{
		{ID: 6, Time: later, Actor: "token", Action: manage.ActionRevoke, KeyID: id, KeyName: "b", Before: &edited, After: &revoked},
		{ID: 4, Time: later, Actor: "token", Action: manage.ActionRotate, KeyID: id, KeyName: "b", Before: &edited, After: &edited},
		{ID: 3, Time: later, Actor: "token", Action: manage.ActionEdit, KeyID: id, KeyName: "b", Before: &listed, After: &edited},
		{ID: 2, Time: later, Actor: "token", Action: manage.ActionList, KeyID: id, KeyName: name, Before: &created, After: &listed},
		{ID: 1, Time: start, Actor: "page", Addr: netip.MustParseAddr("192.0.2.1"), Action: manage.ActionCreate, KeyID: id, KeyName: name, After: &created},
	}
	got, err := s.Audit(t.Context(), manage.AuditQuery{KeyID: id})
	require.NoError(t, err)
	require.Equal(t, manage.AuditPage{Records: want}, got)

	all, err := s.Audit(t.Context(), manage.AuditQuery{})
	require.NoError(t, err)
	require.Len(t, all.Records, 6)
	require.Equal(t, other.Key.ID, all.Records[1].KeyID)
	for limit := 1; limit <= 7; limit++ {
		var ids []int64
		q := manage.AuditQuery{Limit: limit}
		for {
			page, err := s.Audit(t.Context(), q)
			require.NoError(t, err)
			for _, r := range page.Records {
				ids = append(ids, r.ID)
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		require.Equal(t, []int64{6, 5, 4, 3, 2, 1}, ids, "limit %d", limit)
	}
	for _, unknown := range []string{"aaaaaaaaaaaaaaaa", "%", metacharacters, "' OR 1=1 --", strings.Repeat("a", 32<<10)} {
		page, err := s.Audit(t.Context(), manage.AuditQuery{KeyID: unknown})
		require.NoError(t, err)
		require.Empty(t, page.Records)
		require.NotNil(t, page.Records)
	}

	// No secret, and no hash of one, is in it.
	for _, r := range all.Records {
		require.NotContains(t, fmt.Sprintf("%+v %+v %+v", r, r.Before, r.After), c.Token[21:])
	}
}

// TestAuditPageIsBounded has records of a megabyte and more: a page ends
// before it takes hundreds of them.
func TestAuditPageIsBounded(t *testing.T) {
	st := newStore(t)
	st.fresh()
	st.Engine = wideEngine(20_000)
	s, err := manage.Open(t.Context(), st.Options)
	require.NoError(t, err)
	defer s.Close()
	id := create(t, s, "a").Key.ID
	long := make([]manage.ListEntry, 20_000)
	for i := range long {
		long[i].Entry = fmt.Sprintf("20.%d.%d.0/24", i>>8, i&0xff)
	}
	for i := range 5 {
		_, err := save(s, id, long[i:]...)
		require.NoError(t, err)
	}
	var ids []int64
	pages := 0
	for q := (manage.AuditQuery{}); ; pages++ {
		page, err := s.Audit(t.Context(), q)
		require.NoError(t, err)
		require.NotEmpty(t, page.Records)
		for _, r := range page.Records {
			ids = append(ids, r.ID)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	require.Equal(t, []int64{6, 5, 4, 3, 2, 1}, ids)
	require.Positive(t, pages, "all fitted on one page: the test shows nothing")
}

// TestOutbox has a row for each change where it is asked for, in the order of
// the changes, and none otherwise.
func TestOutbox(t *testing.T) {
	for _, on := range []bool{false, true} {
		st := newStore(t)
		st.Outbox = on
		s := st.open()
		a := create(t, s, "a").Key.ID
		_, err := save(s, a, office...)
		require.NoError(t, err)
		_, err = save(s, a, office...) // changes nothing
		require.NoError(t, err)
		_, err = s.Edit(t.Context(), by, a, manage.KeyEdit{Name: ptr("b")})
		require.NoError(t, err)
		_, err = save(s, a, list("x")...)
		require.Error(t, err)
		b := create(t, s, "b").Key.ID
		require.NoError(t, s.Revoke(t.Context(), by, a))
		require.NoError(t, s.Close())

		var got []string
		for _, row := range st.rows("SELECT key_id FROM outbox ORDER BY seq") {
			got = append(got, row[0])
		}
		if on {
			require.Equal(t, []string{a, a, a, b, a}, got)
		} else {
			require.Empty(t, got)
		}
	}
}
