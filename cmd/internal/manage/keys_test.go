package manage_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/manage/managetest"
)

// metacharacters is a text that breaks out of whatever quotes badly.
const metacharacters = `'; DROP TABLE keys; -- "x" %_*?[a-z] \ $1 ?1 :a @b <script>&amp; 𝕏 ` + "\u2028\u202e"

func TestFields(t *testing.T) {
	s, _, ring := managetest.Open(t)
	good := manage.NewKey{Name: "a", Scopes: []string{"read"}}
	for _, c := range []struct {
		field  string
		change func(*manage.NewKey)
	}{
		{"name", func(k *manage.NewKey) { k.Name = "" }},
		{"name", func(k *manage.NewKey) { k.Name = " \t\n\u2003 " }},
		{"name", func(k *manage.NewKey) { k.Name = strings.Repeat("é", 101) }},
		{"name", func(k *manage.NewKey) { k.Name = strings.Repeat("x", 32<<10) }},
		{"name", func(k *manage.NewKey) { k.Name = "a\nb" }},
		{"name", func(k *manage.NewKey) { k.Name = "a\x00b" }},
		{"name", func(k *manage.NewKey) { k.Name = "a\u0085b" }},
		{"name", func(k *manage.NewKey) { k.Name = "a\xffb" }},
		{"description", func(k *manage.NewKey) { k.Description = strings.Repeat("é", 1001) }},
		{"description", func(k *manage.NewKey) { k.Description = strings.Repeat("\n", 32<<10) }},
		{"description", func(k *manage.NewKey) { k.Description = "a\x1bb" }},
		{"description", func(k *manage.NewKey) { k.Description = "\xc3" }},
		{"scopes", func(k *manage.NewKey) { k.Scopes = nil }},
		{"scopes", func(k *manage.NewKey) { k.Scopes = []string{} }},
		{"scopes", func(k *manage.NewKey) { k.Scopes = []string{"read", "admin"} }},
		{"scopes", func(k *manage.NewKey) { k.Scopes = []string{strings.Repeat("x", 32<<10)} }},
	} {
		k := good
		c.change(&k)
		_, err := s.Create(t.Context(), by, k)
		fields, list := manage.Faults(err)
		require.Len(t, fields, 1, "%+.60v", k)
		require.Nil(t, list)
		require.Equal(t, c.field, fields[0].Field)
		require.NotEmpty(t, fields[0].Reason)
		require.Less(t, len(err.Error()), 300)
	}
	require.Zero(t, ring.Len(), "a faulty key was made")

	c, err := s.Create(t.Context(), by, manage.NewKey{
		Name: " " + strings.Repeat("𝕏", 100) + "\n", Description: "one\r\ntwo\rthree\tfour\n" + strings.Repeat("é", 981),
		Scopes: []string{"write", "write"},
	})
	require.NoError(t, err, "the limits themselves are allowed")
	require.Equal(t, strings.Repeat("𝕏", 100), c.Key.Name)
	require.Equal(t, "one\ntwo\nthree\tfour\n", c.Key.Description[:19])
	require.Equal(t, keyring.Write, c.Key.Scopes)
}

// TestAllFaultsAtOnce is what a form needs: each fault beside its field.
func TestAllFaultsAtOnce(t *testing.T) {
	s, _, ring := managetest.Open(t)
	_, err := s.Create(t.Context(), by, manage.NewKey{
		Name: "", Description: "\x00", Scopes: nil,
		Allowlist: []manage.ListEntry{{Entry: "203.0.113.5"}, {Entry: "10.0.0.1"}, {Entry: "x"}, {Entry: "203.0.113.5/32"}, {Entry: "203.0.113.9", Label: "\n"}},
	})
	fields, list := manage.Faults(err)
	var names []string
	for _, f := range fields {
		names = append(names, f.Field)
	}
	require.Equal(t, []string{"name", "description", "scopes"}, names)
	require.NotNil(t, list)
	var got []string
	for _, f := range list.Entries {
		got = append(got, fmt.Sprintf("%d %s", f.Index, f.Code))
	}
	require.Equal(t, []string{"1 not_public", "2 invalid_syntax", "3 duplicate", "4 label_invalid"}, got)
	var field *manage.FieldError
	var invalid *ipallow.ValidationError
	require.ErrorAs(t, err, &field)
	require.ErrorAs(t, err, &invalid)
	require.Zero(t, ring.Len())

	fields, list = manage.Faults(fmt.Errorf("in an answer: %w", err))
	require.Len(t, fields, 3)
	require.NotNil(t, list)
	for _, err := range []error{nil, manage.ErrNotFound, context.Canceled} {
		fields, list = manage.Faults(err)
		require.Nil(t, fields)
		require.Nil(t, list)
	}
}

func TestEdit(t *testing.T) {
	clock := &clock{start}
	s, engine, ring := managetest.Open(t, func(o *manage.Options) { o.Now = clock.Now })
	c := create(t, s, "a", office...)
	id := c.Key.ID
	require.Equal(t, start, c.Key.Created)
	require.Equal(t, start, c.Key.Updated)
	clock.now = start.Add(time.Minute)

	k, err := s.Edit(t.Context(), by, id, manage.KeyEdit{})
	require.NoError(t, err)
	require.Equal(t, c.Key, k, "an empty edit changes nothing")
	k, err = s.Edit(t.Context(), by, id, manage.KeyEdit{Name: ptr(" a "), Description: ptr(""), Scopes: &[]string{"read"}, ReportOnly: ptr(false)})
	require.NoError(t, err)
	require.Equal(t, c.Key, k, "nor does one to what is there")
	page, err := s.Audit(t.Context(), manage.AuditQuery{})
	require.NoError(t, err)
	require.Len(t, page.Records, 1, "and neither leaves a trace")

	for _, e := range []manage.KeyEdit{
		{Name: ptr("")}, {Name: ptr("b"), Description: ptr("\x00")}, {Name: ptr("b"), Scopes: &[]string{}}, {Name: ptr("b"), Scopes: &[]string{"x"}},
	} {
		_, err = s.Edit(t.Context(), by, id, e)
		fields, _ := manage.Faults(err)
		require.Len(t, fields, 1)
	}
	_, err = s.Edit(t.Context(), by, id, manage.KeyEdit{Name: ptr(""), Description: ptr("\x00"), Scopes: &[]string{}})
	fields, _ := manage.Faults(err)
	require.Len(t, fields, 3)
	k, err = s.Key(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, c.Key, k, "a faulty edit changes nothing")

	k, err = s.Edit(t.Context(), by, id, manage.KeyEdit{ReportOnly: ptr(true), Scopes: &[]string{"write"}})
	require.NoError(t, err)
	require.Equal(t, clock.now, k.Updated)
	require.Equal(t, start, k.Created)
	got := ring.Authenticate(c.Token)
	require.True(t, got.ReportOnly)
	require.Equal(t, keyring.Write, got.Scopes)
	require.Equal(t, ipallow.Denied, engine.Check(id, outside), "the list stays as it is")
	require.Equal(t, 2, k.Entries)
}

func TestUnknownAndRevoked(t *testing.T) {
	s, _, _ := managetest.Open(t)
	revoked := create(t, s, "gone", office...)
	require.NoError(t, s.Revoke(t.Context(), by, revoked.Key.ID))

	calls := map[string]func(id string) error{
		"Edit": func(id string) error {
			_, err := s.Edit(t.Context(), by, id, manage.KeyEdit{Name: ptr("")})
			return err
		},
		"Rotate": func(id string) error { _, err := s.Rotate(t.Context(), by, id); return err },
		"Revoke": func(id string) error { return s.Revoke(t.Context(), by, id) },
		"SetAllowlist": func(id string) error {
			_, err := s.SetAllowlist(t.Context(), by, id, manage.ListEdit{Entries: list("x")})
			return err
		},
		"Try": func(id string) error { _, err := s.Try(t.Context(), by, id, nil, nil); return err },
	}
	for name, call := range calls {
		require.ErrorIs(t, call(revoked.Key.ID), manage.ErrRevoked, name)
	}
	calls["Key"] = func(id string) error { _, err := s.Key(t.Context(), id); return err }
	calls["Allowlist"] = func(id string) error { _, err := s.Allowlist(t.Context(), id); return err }
	calls["Seen"] = func(id string) error { _, err := s.Seen(t.Context(), id); return err }
	for name, call := range calls {
		for _, id := range []string{"", "aaaaaaaaaaaaaaaa", "\x00" + revoked.Key.ID, revoked.Key.ID + " ", strings.ToUpper(revoked.Key.ID),
			metacharacters, strings.Repeat("a", 32<<10), "%", "' OR 1=1 --"} {
			require.ErrorIs(t, call(id), manage.ErrNotFound, "%s of %.40q", name, id)
		}
	}

	// A revoked key can still be read.
	k, err := s.Key(t.Context(), revoked.Key.ID)
	require.NoError(t, err)
	require.False(t, k.Active())
	l, err := s.Allowlist(t.Context(), revoked.Key.ID)
	require.NoError(t, err)
	require.Equal(t, revoked.List, l)
	seen, err := s.Seen(t.Context(), revoked.Key.ID)
	require.NoError(t, err)
	require.Empty(t, seen.Served)
	require.Empty(t, seen.Blocked)
}

func TestTooManyKeys(t *testing.T) {
	s, engine, ring := managetest.Open(t)
	manage.SetMaxKeys(s, 3)
	a := create(t, s, "a")
	create(t, s, "b")
	_, err := s.Import(t.Context(), by, manyKeys(2))
	require.ErrorIs(t, err, manage.ErrTooManyKeys)
	require.Equal(t, 2, ring.Len())
	require.Zero(t, engine.Snapshot().Len())
	create(t, s, "c")
	_, err = s.Create(t.Context(), by, manage.NewKey{Name: "d", Scopes: []string{"read"}})
	require.ErrorIs(t, err, manage.ErrTooManyKeys)
	require.Equal(t, 3, ring.Len())
	require.NoError(t, s.Revoke(t.Context(), by, a.Key.ID))
	create(t, s, "d")
}

func TestImport(t *testing.T) {
	st := newStore(t)
	s := st.open()
	manage.SetImportChunk(s, 1000)
	tokens, err := s.Import(t.Context(), by, manyKeys(2500))
	require.NoError(t, err)
	require.Len(t, tokens, 2500)
	check := func() {
		require.Equal(t, 2500, st.Ring.Len())
		require.Equal(t, 2500, st.Engine.Snapshot().Len())
		for i, k := range slices.Collect(manyKeys(2500)) {
			key := st.Ring.Authenticate(tokens[i])
			require.NotNil(t, key)
			entries, _ := st.Engine.Snapshot().Entries(key.ID)
			require.Equal(t, k.Allowlist[0].Entry+"/32", entries[0].String())
			require.Len(t, entries, 5)
		}
	}
	check()
	require.NoError(t, s.Close())
	s = st.open()
	check()

	// A faulty key ends the import; the chunks before it stay.
	manage.SetImportChunk(s, 1000)
	tokens, err = s.Import(t.Context(), by, func(yield func(manage.NewKey) bool) {
		for k := range manyKeys(1500) {
			if !yield(k) {
				return
			}
		}
		yield(manage.NewKey{})
	})
	fields, _ := manage.Faults(err)
	require.Len(t, fields, 2)
	require.Len(t, tokens, 1000)
	require.Equal(t, 3500, st.Ring.Len())
}
