package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/examples/internal/check"
)

func TestServer(t *testing.T) {
	handler, err := protect(check.Engine(t), http.HandlerFunc(hello))
	require.NoError(t, err)
	check.Server(t, handler)
}

func TestNotReady(t *testing.T) {
	check.NotReady(t, func(engine *ipallow.Engine) (http.Handler, error) {
		return protect(engine, http.HandlerFunc(hello))
	})
}
