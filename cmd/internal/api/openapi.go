package api

import (
	_ "embed"
	"net/http"
)

// Document is the OpenAPI 3.1 description of the API, as /api/openapi.json
// serves it.
//
//go:embed openapi.json
var Document []byte

func (h *handler) openapi(w http.ResponseWriter, r *http.Request) error {
	if err := parseQuery(r).err; err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(Document) // an error means that the client is gone
	return nil
}
