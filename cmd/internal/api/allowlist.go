package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// codeUnrestricted is the warning for an allowlist without entries.
const codeUnrestricted = "unrestricted"

// A warning is something about a list that its owner may not have meant.
type warning struct {
	Index  int    `json:"index"` // the entry's place; -1: the whole list
	By     int    `json:"by"`    // the entry that covers it; -1: none
	Input  string `json:"input"`
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

// viewWarnings is never nil.
func viewWarnings(list []ipallow.Warning) []warning {
	views := make([]warning, len(list))
	for i, w := range list {
		views[i] = warning{w.Index, w.By, w.Input, string(w.Code), w.Reason}
	}
	return views
}

// A listView is a key's allowlist in answers.
type listView struct {
	Entries    []manage.ListEntry `json:"entries"`
	Restricted bool               `json:"restricted"`
	UpdatedAt  *time.Time         `json:"updated_at"`
	Warnings   []warning          `json:"warnings"`

	Propagation *propagationView `json:"propagation,omitempty"` // of a change
}

// viewList returns a list, and sets its ETag.
func viewList(w http.ResponseWriter, list *manage.Allowlist, warnings []ipallow.Warning) listView {
	v := listView{
		Entries:    viewEntries(list.Entries),
		Restricted: len(list.Entries) > 0,
		UpdatedAt:  moment(list.Updated),
		Warnings:   viewWarnings(warnings),
	}
	if !v.Restricted {
		v.Warnings = append(v.Warnings, warning{
			Index: -1, By: -1, Code: codeUnrestricted,
			Reason: "the allowlist has no entries, so the key is served from every address",
		})
	}
	w.Header().Set("ETag", `"`+list.Tag+`"`)
	return v
}

func (h *handler) getAllowlist(w http.ResponseWriter, r *http.Request) error {
	id, err := plain(r, true)
	if err != nil {
		return err
	}
	list, err := h.manager.Allowlist(r.Context(), id)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, viewList(w, &list, ipallow.Warnings(list.Entries)))
	return nil
}

func (h *handler) putAllowlist(w http.ResponseWriter, r *http.Request) error {
	id, wait, err := changing(r, true)
	if err != nil {
		return err
	}
	tags, err := ifMatch(r.Header)
	if err != nil {
		return err
	}
	var body struct {
		Entries        *[]manage.ListEntry `json:"entries"`
		ConfirmLockout bool                `json:"confirm_lockout"`
	}
	if err := readBody(w, r, &body); err != nil {
		return err
	}
	if body.Entries == nil {
		return invalid(required("entries", "give the whole list; an empty one, [], lets the key be used from everywhere"))
	}
	tag, err := h.pickTag(r.Context(), id, tags)
	if err != nil {
		return err
	}
	made, err := h.manager.SetAllowlist(r.Context(), h.actor(r), id, manage.ListEdit{
		Entries:        *body.Entries,
		IfMatch:        tag,
		ConfirmLockout: body.ConfirmLockout,
	})
	if err != nil {
		return err
	}
	h.changed(w, r, id, wait, func(p *propagationView) any {
		v := viewList(w, &made.List, made.Warnings)
		v.Propagation = p
		return v
	})
	return nil
}

// pickTag returns the tag that the list must still have when it is changed:
// the one of several that it has now. Empty means any.
func (h *handler) pickTag(ctx context.Context, id string, tags []string) (string, error) {
	switch len(tags) {
	case 0:
		return "", nil
	case 1:
		return tags[0], nil
	}
	list, err := h.manager.Allowlist(ctx, id)
	if err != nil {
		return "", err
	}
	for _, t := range tags {
		if t == list.Tag {
			return t, nil
		}
	}
	return "", manage.ErrConflict
}

// ifMatch returns the entity tags of If-Match (RFC 9110, section 13.1.1), none
// of them for "*" or without the header. If-Match compares strongly, and a
// weak tag is then equal to nothing, so one is refused with 412 unless a
// strong one stands beside it.
func ifMatch(head http.Header) ([]string, error) {
	lines := head.Values("If-Match")
	if len(lines) == 0 {
		return nil, nil
	}
	malformed := &apiError{status: http.StatusBadRequest, Code: "INVALID_HEADER",
		Message: `If-Match must be "*", or an ETag with its quotation marks as an answer gave it.`}
	rest := strings.Trim(strings.Join(lines, ","), " \t,")
	switch rest {
	case "*":
		return nil, nil
	case "":
		return nil, malformed
	}
	var tags []string
	for rest != "" {
		opaque, weak := strings.CutPrefix(rest, "W/")
		opaque, quoted := strings.CutPrefix(opaque, `"`)
		tag, behind, closed := strings.Cut(opaque, `"`)
		next := strings.TrimLeft(behind, " \t")
		if !quoted || !closed || tag == "" || next != "" && next[0] != ',' {
			return nil, malformed
		}
		if !weak {
			tags = append(tags, tag)
		}
		rest = strings.TrimLeft(next, " \t,")
	}
	if tags == nil {
		return nil, manage.ErrConflict
	}
	return tags, nil
}

// noPrecondition refuses preconditions that the route does not look at. Reads
// may ignore them; etags tells that the route looks at If-Match.
func noPrecondition(r *http.Request, etags bool) error {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	for _, name := range []string{"If-Match", "If-None-Match"} {
		if r.Header.Get(name) != "" && !(etags && name == "If-Match") {
			return &apiError{status: http.StatusBadRequest, Code: "INVALID_HEADER",
				Message: name + " is not looked at here. Only PUT of an allowlist takes a precondition, and it is If-Match."}
		}
	}
	return nil
}
