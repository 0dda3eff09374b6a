package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// compareDecoders decodes a body with decode and with encoding/json. What the
// one takes the other must take, with the same outcome. (It is stricter, so
// the opposite does not hold.)
func compareDecoders(t *testing.T, body []byte) {
	type newKey struct {
		Name       string             `json:"name"`
		Scopes     []string           `json:"scopes"`
		ReportOnly bool               `json:"report_only"`
		Allowlist  []manage.ListEntry `json:"allowlist"`
	}
	var got, want newKey
	err := decode(body, &got)
	if err != nil {
		var answer *apiError
		require.True(t, errors.As(err, &answer))
		require.Equal(t, 400, answer.status)
		require.NotEmpty(t, answer.Message)
		require.Less(t, len(answer.Message)+len(answer.Path), 1200)
		return
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(&want))
	require.Equal(t, want, got)
	require.False(t, dec.More())
	require.NotContains(t, strings.ToLower(string(bytes.TrimSpace(body))), `:null`)
}
