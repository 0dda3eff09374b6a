package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// A keyView is a key in answers.
type keyView struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	Description string     `json:"description"`
	Scopes      []string   `json:"scopes"`
	ReportOnly  bool       `json:"report_only"`
	Status      string     `json:"status"` // "active" or "revoked"
	Restricted  bool       `json:"restricted"`
	Entries     int        `json:"entries"`
	CreatedAt   time.Time  `json:"created_at"`
	UpdatedAt   time.Time  `json:"updated_at"`
	RevokedAt   *time.Time `json:"revoked_at"`
	LastUsedAt  *time.Time `json:"last_used_at"`

	Propagation *propagationView `json:"propagation,omitempty"` // of a change
}

func viewKey(k *manage.Key) keyView {
	v := keyView{
		ID:          k.ID,
		Name:        k.Name,
		Description: k.Description,
		Scopes:      k.Scopes.Names(),
		ReportOnly:  k.ReportOnly,
		Status:      "active",
		Restricted:  k.Entries > 0,
		Entries:     k.Entries,
		CreatedAt:   k.Created.UTC(),
		UpdatedAt:   k.Updated.UTC(),
		RevokedAt:   moment(k.Revoked),
		LastUsedAt:  moment(k.LastUsed),
	}
	if !k.Active() {
		v.Status = "revoked"
	}
	return v
}

// viewChanged returns a key that was changed.
func viewChanged(k *manage.Key, p *propagationView) keyView {
	v := viewKey(k)
	v.Propagation = p
	return v
}

// moment returns nil, which is null in JSON, for the zero Time.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// A secretView is a key with its token. No other answer has one.
type secretView struct {
	keyView
	Secret string `json:"secret"`
}

// A createdView is a new key.
type createdView struct {
	secretView
	Allowlist []manage.ListEntry `json:"allowlist"`
	Warnings  []warning          `json:"warnings"`
}

// keyID returns the key that the path names. What cannot be an identifier is
// not looked up.
func keyID(r *http.Request) (string, error) {
	id := r.PathValue("id")
	if !keyring.ValidID(id) {
		return "", manage.ErrNotFound
	}
	return id, nil
}

// plain reads the key's identifier on a route without parameters. If-Match and
// If-None-Match are refused unless the route has ETags: a precondition that is
// not looked at would be taken for one that held.
func plain(r *http.Request, etags bool) (string, error) {
	if err := parseQuery(r).err; err != nil {
		return "", err
	}
	if err := noPrecondition(r, etags); err != nil {
		return "", err
	}
	return keyID(r)
}

func (h *handler) listKeys(w http.ResponseWriter, r *http.Request) error {
	q := parseQuery(r, "search", "revoked", "restricted", "unused", "broad", "order", "limit", "cursor")
	kq := manage.KeyQuery{
		Search:  q.text("search"),
		Revoked: q.boolean("revoked"),
		Unused:  q.boolean("unused"),
		Broad:   q.boolean("broad"),
		Limit:   q.number("limit", manage.MaxLimit),
		Cursor:  q.text("cursor"),
	}
	if restricted := q.boolean("restricted"); q.text("restricted") != "" {
		kq.Restricted = &restricted
	}
	switch q.text("order") {
	case "", "created":
	case "name":
		kq.Order = manage.ByName
	case "last_used":
		kq.Order = manage.LastUsedFirst
	default:
		q.fail("order", "order is %s, but must be created, name or last_used.", q.shown("order"))
	}
	if q.err != nil {
		return q.err
	}
	page, err := h.manager.Keys(r.Context(), kq)
	if err != nil {
		return err
	}
	views := make([]keyView, len(page.Keys))
	for i := range page.Keys {
		views[i] = viewKey(&page.Keys[i])
	}
	writeJSON(w, http.StatusOK, struct {
		Keys     []keyView `json:"keys"`
		Next     string    `json:"next"`
		Previous string    `json:"previous"`
		Total    int       `json:"total"`
	}{views, page.Next, page.Previous, page.Total})
	return nil
}

func (h *handler) createKey(w http.ResponseWriter, r *http.Request) error {
	if err := parseQuery(r).err; err != nil {
		return err
	}
	if err := noPrecondition(r, false); err != nil {
		return err
	}
	var body struct {
		Name        string             `json:"name"`
		Description string             `json:"description"`
		Scopes      []string           `json:"scopes"`
		ReportOnly  bool               `json:"report_only"`
		Allowlist   []manage.ListEntry `json:"allowlist"`
	}
	if err := readBody(w, r, &body); err != nil {
		return err
	}
	made, err := h.manager.Create(r.Context(), h.actor(r), manage.NewKey(body))
	if err != nil {
		return translate(err, "allowlist")
	}
	w.Header().Set("Location", "/api/v1/keys/"+made.Key.ID)
	writeJSON(w, http.StatusCreated, createdView{
		secretView: secretView{viewKey(&made.Key), made.Token},
		Allowlist:  viewEntries(made.List.Entries),
		Warnings:   viewWarnings(made.Warnings),
	})
	return nil
}

func (h *handler) getKey(w http.ResponseWriter, r *http.Request) error {
	id, err := plain(r, true)
	if err != nil {
		return err
	}
	k, err := h.manager.Key(r.Context(), id)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, viewKey(&k))
	return nil
}

func (h *handler) editKey(w http.ResponseWriter, r *http.Request) error {
	id, wait, err := changing(r, false)
	if err != nil {
		return err
	}
	var body struct {
		Name        *string   `json:"name"`
		Description *string   `json:"description"`
		Scopes      *[]string `json:"scopes"`
		ReportOnly  *bool     `json:"report_only"`

		ConfirmLockout bool `json:"confirm_lockout"`
	}
	if err := readBody(w, r, &body); err != nil {
		return err
	}
	edit := manage.KeyEdit(body)
	if edit == (manage.KeyEdit{ConfirmLockout: body.ConfirmLockout}) {
		return invalid(required("", "the request changes nothing; give at least one of name, description, scopes, report_only"))
	}
	k, err := h.manager.Edit(r.Context(), h.actor(r), id, edit)
	if err != nil {
		return err
	}
	h.changed(w, r, id, wait, func(p *propagationView) any { return viewChanged(&k, p) })
	return nil
}

func (h *handler) rotateKey(w http.ResponseWriter, r *http.Request) error {
	id, wait, err := changing(r, false)
	if err != nil {
		return err
	}
	if err := noBody(w, r); err != nil {
		return err
	}
	made, err := h.manager.Rotate(r.Context(), h.actor(r), id)
	if err != nil {
		return err
	}
	h.changed(w, r, id, wait, func(p *propagationView) any {
		return secretView{viewChanged(&made.Key, p), made.Token}
	})
	return nil
}

// revokeKey succeeds also for a key that was revoked before: what the caller
// wants is so.
func (h *handler) revokeKey(w http.ResponseWriter, r *http.Request) error {
	id, wait, err := changing(r, false)
	if err != nil {
		return err
	}
	err = h.manager.Revoke(r.Context(), h.actor(r), id)
	if err != nil && !errors.Is(err, manage.ErrRevoked) {
		return err
	}
	k, err := h.manager.Key(r.Context(), id)
	if err != nil {
		return err
	}
	h.changed(w, r, id, wait, func(p *propagationView) any { return viewChanged(&k, p) })
	return nil
}

// viewEntries returns a list as the API writes it. It is never nil, so that
// it is [] in JSON.
func viewEntries(entries []ipallow.Entry) []manage.ListEntry {
	views := make([]manage.ListEntry, len(entries))
	for i, e := range entries {
		views[i] = manage.ListEntry{Entry: e.String(), Label: e.Label}
	}
	return views
}
