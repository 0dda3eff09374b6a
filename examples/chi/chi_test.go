package chi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	example "github.com/ipallow/ipallow/examples/chi"
	"github.com/ipallow/ipallow/examples/internal/check"
)

func TestServer(t *testing.T) {
	handler, err := example.New(check.Engine(t))
	require.NoError(t, err)
	check.Server(t, handler)
}

func TestNilEngine(t *testing.T) {
	_, err := example.New(nil)
	require.Error(t, err)
}

func TestNotReady(t *testing.T) { check.NotReady(t, example.New) }
