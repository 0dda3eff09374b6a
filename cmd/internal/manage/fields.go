package manage

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
)

// Faults returns all faults of fields, and those of the list, that are in an
// error of a Service. Both are nil where it has none.
func Faults(err error) (fields []*FieldError, list *ipallow.ValidationError) {
	switch e := err.(type) { //nolint:errorlint // the tree is walked here
	case *FieldError:
		fields = []*FieldError{e}
	case *ipallow.ValidationError:
		list = e
	case interface{ Unwrap() []error }:
		for _, child := range e.Unwrap() {
			f, l := Faults(child)
			fields = append(fields, f...)
			if l != nil {
				list = l
			}
		}
	case interface{ Unwrap() error }:
		return Faults(e.Unwrap())
	}
	return fields, list
}

// cleanName trims a name and checks it.
func cleanName(s string) (string, error) {
	s = strings.TrimSpace(s)
	n := utf8.RuneCountInString(s)
	switch {
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return "", &FieldError{"name", "it is not UTF-8 or holds control characters; write it without them"}
	case n == 0:
		return "", &FieldError{"name", "it is empty; write what the key is for"}
	case n > MaxName:
		return "", &FieldError{"name", fmt.Sprintf("it has %d characters, and the limit is %d; shorten it", n, MaxName)}
	}
	return s, nil
}

// lineEnds makes one of the ends of lines that browsers and systems write.
var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// cleanDescription gives lines one kind of end and checks the text.
func cleanDescription(s string) (string, error) {
	s = lineEnds.Replace(s)
	control := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }
	if !utf8.ValidString(s) || strings.ContainsFunc(s, control) {
		return "", &FieldError{"description", "it is not UTF-8 or holds control characters other than tabs and ends of lines; write it without them"}
	}
	if n := utf8.RuneCountInString(s); n > MaxDescription {
		return "", &FieldError{"description", fmt.Sprintf("it has %d characters, and the limit is %d; shorten it", n, MaxDescription)}
	}
	return s, nil
}

func parseScopes(names []string) (keyring.Scopes, error) {
	scopes, err := keyring.ParseScopes(names)
	if err != nil {
		return 0, &FieldError{"scopes", err.Error()}
	}
	if scopes == 0 {
		return 0, &FieldError{"scopes", `a key needs at least one: "read", "write"`}
	}
	return scopes, nil
}

// parseEntries checks a list as a user writes it and returns it in canonical
// form; the error is a *ipallow.ValidationError.
func (s *Service) parseEntries(list []ListEntry) ([]ipallow.Entry, error) {
	if len(list) == 0 {
		return nil, nil
	}
	texts := make([]ipallow.EntryText, len(list))
	for i, e := range list {
		texts[i] = ipallow.EntryText(e)
	}
	return s.policy.ParseEntries(texts)
}

// parseKey checks a new key as a user writes it and returns all its faults.
func (s *Service) parseKey(k NewKey) (*row, error) {
	r := &row{reportOnly: k.ReportOnly}
	var errs [4]error
	r.name, errs[0] = cleanName(k.Name)
	r.description, errs[1] = cleanDescription(k.Description)
	r.scopes, errs[2] = parseScopes(k.Scopes)
	r.list, errs[3] = s.parseEntries(k.Allowlist)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return r, nil
}
