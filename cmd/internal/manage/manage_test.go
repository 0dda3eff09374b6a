package manage_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/manage/managetest"
)

// TestLife takes one key from its creation to its end.
func TestLife(t *testing.T) {
	s, engine, ring := managetest.Open(t)
	ctx := t.Context()

	c, err := s.Create(ctx, by, manage.NewKey{Name: " CI ", Scopes: []string{"read"}, Allowlist: office})
	require.NoError(t, err)
	id := c.Key.ID
	require.Equal(t, "CI", c.Key.Name)
	require.Equal(t, 2, c.Key.Entries)
	require.Equal(t, "2001:db8::1/128", c.List.Entries[1].String())
	require.Equal(t, id, ring.Authenticate(c.Token).ID)
	require.Equal(t, ipallow.Allowed, engine.Check(id, inside))
	require.Equal(t, ipallow.Denied, engine.Check(id, outside))

	k, err := s.Key(ctx, id)
	require.NoError(t, err)
	require.Equal(t, c.Key, k)
	l, err := s.Allowlist(ctx, id)
	require.NoError(t, err)
	require.Equal(t, c.List, l)

	set, err := s.SetAllowlist(ctx, by, id, manage.ListEdit{IfMatch: l.Tag, Entries: []manage.ListEntry{{Entry: "198.51.100.7"}}})
	require.NoError(t, err)
	require.NotEqual(t, l.Tag, set.List.Tag)
	require.Equal(t, ipallow.Denied, engine.Check(id, inside))
	require.Equal(t, ipallow.Allowed, engine.Check(id, outside))
	_, err = s.SetAllowlist(ctx, by, id, manage.ListEdit{IfMatch: l.Tag})
	require.ErrorIs(t, err, manage.ErrConflict)

	k, err = s.Edit(ctx, by, id, manage.KeyEdit{Name: ptr("build"), Scopes: &[]string{"write", "read"}})
	require.NoError(t, err)
	require.Equal(t, "build", k.Name)
	require.Equal(t, keyring.Read|keyring.Write, ring.Get(id).Scopes)

	rotated, err := s.Rotate(ctx, by, id)
	require.NoError(t, err)
	require.Nil(t, ring.Authenticate(c.Token))
	require.NotNil(t, ring.Authenticate(rotated.Token))

	_, err = s.SetAllowlist(ctx, by, id, manage.ListEdit{})
	require.NoError(t, err)
	require.Equal(t, ipallow.Unrestricted, engine.Check(id, inside))

	require.NoError(t, s.Revoke(ctx, by, id))
	require.Nil(t, ring.Authenticate(rotated.Token))
	require.ErrorIs(t, s.Revoke(ctx, by, id), manage.ErrRevoked)
	k, err = s.Key(ctx, id)
	require.NoError(t, err)
	require.False(t, k.Active())

	page, err := s.Audit(ctx, manage.AuditQuery{KeyID: id, Limit: 4})
	require.NoError(t, err)
	var actions []manage.Action
	for _, r := range page.Records {
		actions = append(actions, r.Action)
	}
	require.Equal(t, []manage.Action{manage.ActionRevoke, manage.ActionList, manage.ActionRotate, manage.ActionEdit}, actions)
	page, err = s.Audit(ctx, manage.AuditQuery{KeyID: id, Limit: 4, Cursor: page.Next})
	require.NoError(t, err)
	require.Len(t, page.Records, 2)
	require.Empty(t, page.Next)
	require.Nil(t, page.Records[1].Before)
	require.Equal(t, manage.ListEntry{Entry: "203.0.113.0/24", Label: "office"}, page.Records[1].After.Allowlist[0])
}
