// Package managetest opens a manage.Service for tests.
package managetest

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// Open opens a Service on a database in a directory of the test's own, with an
// engine of the default policy that denies until it is loaded. Each function
// may change the options. The end of the test closes the Service.
func Open(t testing.TB, change ...func(*manage.Options)) (*manage.Service, *ipallow.Engine, *keyring.Ring) {
	t.Helper()
	o := manage.Options{
		Path:   filepath.Join(t.TempDir(), "ipallowd.db"),
		Engine: ipallow.New(&ipallow.Options{DenyUntilLoaded: true}),
		Ring:   new(keyring.Ring),
	}
	for _, fn := range change {
		fn(&o)
	}
	s, err := manage.Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s, o.Engine, o.Ring
}
