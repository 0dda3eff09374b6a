package ipallow

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/stretchr/testify/require"
)

// errors.As finds the whole list's error and each entry's, also through the
// errors of Update and Replace.
func TestErrorsAs(t *testing.T) {
	bad := entries("203.0.113.0/24", "10.0.0.1/32", "8.0.0.0/8")
	for name, err := range map[string]error{
		"Validate": DefaultPolicy().Validate(bad),
		"Set":      New(nil).Set("k", bad),
		"Update":   New(nil).Update(func(tx *Tx) error { return tx.Set("k", bad) }),
		"Replace":  New(nil).Replace(lists("k", bad)),
		"wrapped":  fmt.Errorf("loading: %w", DefaultPolicy().Validate(bad)),
	} {
		var v *ValidationError
		require.ErrorAs(t, err, &v, name)
		require.Len(t, v.Entries, 2, name)
		var f *EntryError
		require.ErrorAs(t, err, &f, name)
		require.Equal(t, CodeNotPublic, f.Code, "%s: the first of them", name)
		require.Equal(t, 1, f.Index, name)
		require.Equal(t, "10.0.0.1/32", f.Input, name)
		for _, f := range v.Entries {
			require.ErrorIs(t, err, f, name)
		}
		require.Contains(t, err.Error(), `entry 2 "10.0.0.1/32": not_public: `, name)
		require.Contains(t, err.Error(), `entry 3 "8.0.0.0/8": too_broad: `, name)
	}
}

// A nil error is nil, and not a nil pointer in an interface.
func TestNilErrors(t *testing.T) {
	require.True(t, DefaultPolicy().Validate(nil) == nil)
	_, err := DefaultPolicy().ParseList(nil)
	require.True(t, err == nil)
	_, err = ParseEntry("203.0.113.5")
	require.True(t, err == nil)
	require.True(t, New(nil).Set("k", entries("203.0.113.5/32")) == nil)
	require.True(t, New(nil).Replace(lists()) == nil)
}

// However long a list is and whatever stands in it, its message has a bound
// and quotes what it shows.
func TestMessagesAreBounded(t *testing.T) {
	nasty := strings.Repeat("\x1b[2J\xff\u202e", 1000)
	texts := make([]EntryText, 50_000)
	for i := range texts {
		texts[i] = EntryText{Entry: nasty, Label: nasty}
	}
	_, err := DefaultPolicy().ParseEntries(texts)
	var v *ValidationError
	require.ErrorAs(t, err, &v)
	require.Len(t, v.Entries, 100_001, "all of them are there")
	require.Less(t, len(err.Error()), 21*maxFaultText)
	require.NotContains(t, err.Error(), "\x1b")
	require.NotContains(t, err.Error(), "\u202e", "text that turns a line around is escaped too")
	require.Contains(t, err.Error(), "and 99981 more faults")
	require.Equal(t, 20, strings.Count(err.Error(), "\n"), "a line each")

	key := strings.Repeat("\x1b", MaxKeyLen)
	err = New(nil).Replace(func(yield func(string, []Entry) bool) {
		for i := range 10_000 {
			yield(key[:1+i%MaxKeyLen], entries("10.0.0.1/32"))
		}
	})
	require.Less(t, len(err.Error()), 200*maxFaultText)
	require.NotContains(t, err.Error(), "\x1b")
}

// The errors that programs compare are those that the methods return.
func TestSentinels(t *testing.T) {
	list := entries("203.0.113.5/32")
	full := New(&Options{MaxKeys: 1})
	require.NoError(t, full.Set("k", list))
	for _, c := range []struct {
		err, want error
		keyed     bool
	}{
		{New(nil).Set("", list), ErrKeyLength, false},
		{New(nil).Update(func(tx *Tx) error { return tx.Set("", list) }), ErrKeyLength, true},
		{New(nil).Replace(lists("", list)), ErrKeyLength, true},
		{full.Set("l", list), ErrTooManyKeys, false},
		{full.Update(func(tx *Tx) error { return tx.Set("l", list) }), ErrTooManyKeys, false},
		{full.Replace(lists("k", list, "l", list)), ErrTooManyKeys, false},
		{New(nil).Replace(lists("k", list, "k", list)), ErrDuplicateKey, true},
		{New(nil).Replace(nil), ErrNoLists, false},
		{(*Engine)(nil).Set("k", list), ErrNoEngine, false},
		{(*Tx)(nil).Set("k", list), ErrTxDone, false},
	} {
		require.ErrorIs(t, c.err, c.want)
		var k *KeyError
		require.Equal(t, c.keyed, errors.As(c.err, &k), c.err)
		require.True(t, strings.Contains(c.err.Error(), ";"), "%q does not say what to do", c.err)
	}
	require.ErrorContains(t, full.Set("l", list), "2 would have a list, the limit is 1")
}

// Prefixes of a list that was not text are quoted as prefixes.
func TestInputOfPrefixes(t *testing.T) {
	err := DefaultPolicy().Validate([]Entry{{}, {Prefix: prefix("::ffff:203.0.113.5/120")}, {Prefix: prefix("10.0.0.0/8"), Label: "\n"}})
	var v *ValidationError
	require.ErrorAs(t, err, &v)
	var inputs []string
	for _, f := range v.Entries {
		inputs = append(inputs, f.Input)
	}
	require.Equal(t, []string{"invalid Prefix", "::ffff:203.0.113.5/120", "10.0.0.0/8", "10.0.0.0/8"}, inputs)
	require.Equal(t, -1, func() int {
		errors.As(DefaultPolicy().Validate(fromNaive(gen.Distinct(21))), &v)
		return v.Entries[0].Index
	}(), "too many entries is a fault of the list")
}
