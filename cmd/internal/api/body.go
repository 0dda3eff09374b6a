package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxBody is the size of the largest body that is read, in bytes.
const MaxBody = 256 << 10

// readBody reads a JSON object into v, a pointer to a struct. Anything in it
// that v has no place for is refused, so that a misspelt field is not taken
// for one left out: unknown names, names in other case, repeated names, null,
// a second value behind the first. Fields that are not there stay as they are.
func readBody(w http.ResponseWriter, r *http.Request, v any) error {
	if err := checkContentType(r.Header); err != nil {
		return err
	}
	body, err := readAll(w, r)
	if err != nil {
		return err
	}
	return decode(body, v)
}

// noBody is readBody for a route that needs nothing. An empty object passes,
// for clients that always send one.
func noBody(w http.ResponseWriter, r *http.Request) error {
	body, err := readAll(w, r)
	if err != nil || len(bytes.TrimSpace(body)) == 0 {
		return err
	}
	if err := checkContentType(r.Header); err != nil {
		return err
	}
	return decode(body, &struct{}{})
}

func readAll(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	var (
		large *http.MaxBytesError
		slow  net.Error
	)
	switch {
	case err == nil:
		return body, nil
	case errors.As(err, &large):
		return nil, &apiError{status: http.StatusRequestEntityTooLarge, Code: "BODY_TOO_LARGE",
			Message: fmt.Sprintf("The body is larger than %d KiB.", MaxBody>>10)}
	case errors.As(err, &slow) && slow.Timeout():
		return nil, &apiError{status: http.StatusRequestTimeout, Code: "BODY_TOO_SLOW",
			Message: "The body did not arrive in time."}
	}
	return nil, &apiError{status: http.StatusBadRequest, Code: "INVALID_JSON",
		Message: "The body broke off before its end."}
}

func checkContentType(head http.Header) error {
	kind, params, err := mime.ParseMediaType(head.Get("Content-Type"))
	charset := params["charset"]
	if err != nil || kind != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return &apiError{status: http.StatusUnsupportedMediaType, Code: "UNSUPPORTED_MEDIA_TYPE",
			Message: "Send the body as JSON in UTF-8, with \"Content-Type: application/json\"."}
	}
	if enc := head.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return &apiError{status: http.StatusUnsupportedMediaType, Code: "UNSUPPORTED_MEDIA_TYPE",
			Message: "Send the body as it is, without a Content-Encoding."}
	}
	return nil
}

// decode reads body into v, which a fault leaves in any state.
func decode(body []byte, v any) error {
	if err := scan(body); err != nil {
		return err
	}
	err := json.Unmarshal(body, v, json.RejectUnknownMembers(true))
	var bad *json.SemanticError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, json.ErrUnknownName):
		errors.As(err, &bad)
		at := string(bad.JSONPointer)
		return badJSON(at, "There is no field %s here; the fields are %s.", quoteLast(at), fieldNames(bad.GoType))
	case errors.As(err, &bad):
		at := string(bad.JSONPointer)
		return badJSON(at, "%s is %s, but must be %s.", place(at), kindName(bad.JSONKind), typeName(bad.GoType))
	}
	return badJSON("", "The body cannot be read: %v.", err)
}

// scan refuses what is no single JSON object, or has a null in it.
func scan(body []byte) error {
	dec := jsontext.NewDecoder(bytes.NewReader(body))
	if kind := dec.PeekKind(); kind != '{' && kindName(kind) != "" {
		return badJSON("", "The body is %s, but must be an object.", kindName(kind))
	}
	for {
		tok, err := dec.ReadToken()
		var bad *jsontext.SyntacticError
		switch {
		case err == io.EOF && dec.InputOffset() == 0:
			return badJSON("", "The body is empty, but must be a JSON object.")
		case err == io.EOF:
			return nil
		case errors.Is(err, jsontext.ErrDuplicateName):
			errors.As(err, &bad)
			return badJSON(string(bad.JSONPointer), "The field %s is there twice.", quoteLast(string(bad.JSONPointer)))
		case errors.As(err, &bad):
			return badJSON(string(bad.JSONPointer), "The body is not valid JSON, after byte %d: %v.", bad.ByteOffset, bad.Err)
		case err != nil:
			return badJSON("", "The body is not valid JSON: %v.", err)
		case tok.Kind() == 'n':
			at := string(dec.StackPointer())
			return badJSON(at, "%s is null. Leave out what you do not want to set.", place(at))
		}
		if dec.StackDepth() == 0 && len(bytes.TrimSpace(body[dec.InputOffset():])) > 0 {
			return badJSON("", "Something follows the object, at byte %d. Send one object alone.", dec.InputOffset())
		}
	}
}

func badJSON(path, format string, args ...any) error {
	return &apiError{status: http.StatusBadRequest, Code: "INVALID_JSON",
		Message: fmt.Sprintf(format, args...), Path: cut(path, 200)}
}

// place names a JSON Pointer in a sentence.
func place(pointer string) string {
	if pointer == "" {
		return "The body"
	}
	return cut(pointer, 100)
}

// quoteLast quotes the last name of a JSON Pointer.
func quoteLast(pointer string) string {
	return fmt.Sprintf("%q", cut(jsontext.Pointer(pointer).LastToken(), 60))
}

// cut shortens a text that goes back to whoever sent it.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// fieldNames returns the names of a struct's fields in JSON.
func fieldNames(t reflect.Type) string {
	if t == nil || t.Kind() != reflect.Struct || t.NumField() == 0 {
		return "none"
	}
	names := make([]string, t.NumField())
	for i := range names {
		names[i], _, _ = strings.Cut(t.Field(i).Tag.Get("json"), ",")
	}
	return strings.Join(names, ", ")
}

// kindName returns "" for what begins no value.
func kindName(k jsontext.Kind) string {
	switch k {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return ""
}

func typeName(t reflect.Type) string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return "something else"
	}
	switch t.Kind() {
	case reflect.Struct:
		return "an object"
	case reflect.Slice:
		return "an array"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "a boolean"
	}
	return "something else"
}
