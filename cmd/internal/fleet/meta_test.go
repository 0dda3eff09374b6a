package fleet

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/keyring"
)

const testID = "4kq2m7xw3n5tzr6c"

func TestMeta(t *testing.T) {
	_, hash := keyring.NewSecret()
	for _, scopes := range []keyring.Scopes{keyring.Read, keyring.Write, keyring.Read | keyring.Write} {
		for _, report := range []bool{false, true} {
			k := &keyring.Key{ID: testID, Hash: hash, Scopes: scopes, ReportOnly: report}
			b := EncodeMeta(k)
			require.Len(t, b, metaSize)
			got, err := DecodeMeta(testID, b)
			require.NoError(t, err)
			require.Equal(t, k, got)
		}
	}
	good := EncodeMeta(&keyring.Key{ID: testID, Hash: hash, Scopes: keyring.Read})
	change := func(fn func(b []byte) []byte) []byte { return fn(append([]byte(nil), good...)) }
	for name, bad := range map[string][]byte{
		"empty": nil, "version alone": {metaVersion},
		"too long":      append(append([]byte(nil), good...), 0),
		"too short":     good[:metaSize-1],
		"newer":         change(func(b []byte) []byte { b[0]++; return b }),
		"no scope":      change(func(b []byte) []byte { b[metaSize-1] = 0; return b }),
		"unknown flags": change(func(b []byte) []byte { b[metaSize-1] |= 1 << 4; return b }),
	} {
		_, err := DecodeMeta(testID, bad)
		require.ErrorIs(t, err, ErrMeta, name)
	}
	for _, id := range []string{"", "short", strings.ToUpper(testID), testID + "x"} {
		_, err := DecodeMeta(id, good)
		require.ErrorIs(t, err, ErrMeta, id)
	}
}

// FuzzMeta: whatever can be read has one encoding, and permits something.
func FuzzMeta(f *testing.F) {
	_, hash := keyring.NewSecret()
	f.Add(EncodeMeta(&keyring.Key{Hash: hash, Scopes: keyring.Read}))                                   // the usual one
	f.Add(EncodeMeta(&keyring.Key{Hash: hash, Scopes: keyring.Read | keyring.Write, ReportOnly: true})) // every flag
	f.Add([]byte{metaVersion})                                                                          // cut off
	f.Add(make([]byte, metaSize))                                                                       // no version
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := DecodeMeta(testID, data)
		if err != nil {
			require.ErrorIs(t, err, ErrMeta)
			require.Nil(t, k)
			return
		}
		require.NotZero(t, k.Scopes)
		require.Equal(t, data, EncodeMeta(k))
	})
}
