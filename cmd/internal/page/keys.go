package page

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzhttp"

	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// keyHome leads to the first page of a key.
func (p *Page) keyHome(w http.ResponseWriter, r *http.Request, _ *session) error {
	http.Redirect(w, r, keyURL(r.PathValue("id"), "allowlist"), http.StatusSeeOther)
	return nil
}

func keyURL(id, what string) string { return "/keys/" + url.PathEscape(id) + "/" + what }

// fields are those of a key that a form has.
type fields struct {
	Name        string
	Description string
	Scopes      []string
	ReportOnly  bool
	Faults      map[string]string // by name, as manage.FieldError has it
	MaxName     int
	MaxText     int
	FocusName   bool
}

func readFields(form url.Values) fields {
	return fields{
		Name:        strings.TrimSpace(form.Get("name")),
		Description: strings.TrimSpace(strings.ReplaceAll(form.Get("description"), "\r\n", "\n")),
		Scopes:      form["scope"],
		ReportOnly:  form.Has("report_only"),
		MaxName:     manage.MaxName,
		MaxText:     manage.MaxDescription,
	}
}

// blame puts the faults of fields in err beside them, and reports whether there
// were any.
func (f *fields) blame(err error) bool {
	faults, _ := manage.Faults(err)
	f.Faults = make(map[string]string, len(faults))
	for _, fault := range faults {
		f.Faults[fault.Field] = sentence(fault.Reason)
	}
	return len(faults) > 0
}

type newKeyView struct {
	fields
	Draft *draft
}

func (p *Page) newKeyForm(w http.ResponseWriter, r *http.Request, s *session) error {
	v := newKeyView{readFields(url.Values{"scope": keyring.Read.Names()}), &draft{Caller: p.callerAddr(r)}}
	v.FocusName = true
	p.render(w, r, s, http.StatusOK, "new", "Create API key", "keys", v)
	return nil
}

func (p *Page) newKey(w http.ResponseWriter, r *http.Request, s *session) error {
	if err := p.parseForm(w, r, p.maxForm()); err != nil {
		return err
	}
	d, err := p.readDraft(r)
	if err != nil {
		return err
	}
	v := newKeyView{readFields(r.PostForm), d}
	if p.apply(d, d.action(r, "check")) {
		p.render(w, r, s, http.StatusOK, "new", "Create API key", "keys", v)
		return nil
	}
	list, at := d.list()
	created, err := p.Manager.Create(r.Context(), p.caller(r), manage.NewKey{
		Name: v.Name, Description: v.Description, Scopes: v.Scopes, ReportOnly: v.ReportOnly, Allowlist: list,
	})
	if err != nil {
		blamed := v.blame(err)
		if _, ok := p.check(d); ok && !d.blame(err, at) && !blamed {
			return err
		}
		d.Focus = "faults"
		p.render(w, r, s, http.StatusUnprocessableEntity, "new", "Create API key", "keys", v)
		return nil
	}
	s.keep(created, false, p.Now())
	http.Redirect(w, r, keyURL(created.Key.ID, "secret"), http.StatusSeeOther)
	return nil
}

type secretView struct {
	Key     manage.Key
	Shown   *shown
	Curl    string
	Current string
}

// Token is the secret in the form that a client sends.
func (v secretView) Token() string { return v.Shown.created.Token }

// Rotated says that the key had another secret before.
func (v secretView) Rotated() bool { return v.Shown.rotated }

// Warnings are about the list that the key was created with.
func (v secretView) Warnings() []string {
	var out []string
	entries := v.Shown.created.List.Entries
	for _, w := range v.Shown.created.Warnings {
		if w.Index < len(entries) && w.By < len(entries) {
			out = append(out, short(entries[w.Index].Prefix)+" is not needed: "+short(entries[w.By].Prefix)+" covers it already.")
		}
	}
	return out
}

// secret shows a new secret, once.
func (p *Page) secret(w http.ResponseWriter, r *http.Request, s *session) error {
	key, err := p.Manager.Key(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	v := &secretView{Key: key, Current: "secret"}
	// The length of a compressed page would tell of the secret in it.
	w.Header().Set(gzhttp.HeaderNoCompression, "1")
	title := "Secret of " + visible(key.Name)
	if r.Method == http.MethodHead {
		p.render(w, r, s, http.StatusOK, "secret", title, "keys", v)
		return nil
	}
	if v.Shown = s.take(key.ID, p.Now()); v.Shown != nil && p.TryURL != "" {
		v.Curl = "curl -i -H 'Authorization: Bearer " + v.Token() + "' " + p.TryURL
	}
	p.render(w, r, s, http.StatusOK, "secret", title, "keys", v)
	return nil
}

// A keyView is a page of one key. Current is its part of the key's own
// navigation.
type keyView struct {
	Key     manage.Key
	Current string
	Lockout *manage.LockoutError // to be confirmed: who would be refused
	Unknown bool                 // to be confirmed: nobody knows
	fields
}

func (p *Page) editForm(w http.ResponseWriter, r *http.Request, s *session) error {
	key, err := p.activeKey(r)
	if err != nil {
		return err
	}
	f := readFields(nil)
	f.Name, f.Description, f.Scopes, f.ReportOnly = key.Name, key.Description, key.Scopes.Names(), key.ReportOnly
	p.render(w, r, s, http.StatusOK, "edit", "Edit "+visible(key.Name), "keys", &keyView{Key: key, Current: "edit", fields: f})
	return nil
}

func (p *Page) edit(w http.ResponseWriter, r *http.Request, s *session) error {
	if err := p.parseForm(w, r, 64<<10); err != nil {
		return err
	}
	key, err := p.activeKey(r)
	if err != nil {
		return err
	}
	f := readFields(r.PostForm)
	if f.Scopes == nil {
		f.Scopes = []string{}
	}
	changed, err := p.Manager.Edit(r.Context(), p.caller(r), key.ID, manage.KeyEdit{
		Name: &f.Name, Description: &f.Description, Scopes: &f.Scopes, ReportOnly: &f.ReportOnly,
		ConfirmLockout: r.PostForm.Get("action") == "lockout",
	})
	if err != nil {
		v := &keyView{Key: key, Current: "edit"}
		status := http.StatusConflict
		switch {
		case errors.As(err, &v.Lockout):
		case errors.Is(err, manage.ErrLockoutUnknown):
			v.Unknown = true
		case f.blame(err):
			status = http.StatusUnprocessableEntity
		default:
			return err
		}
		v.fields = f
		p.render(w, r, s, status, "edit", "Edit "+visible(key.Name), "keys", v)
		return nil
	}
	to := p.changed(r, s, key.ID, "“"+visible(changed.Name)+"” is saved, and in force from the next request.", keyURL(key.ID, "edit"))
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

func (p *Page) rotateForm(w http.ResponseWriter, r *http.Request, s *session) error {
	key, err := p.activeKey(r)
	if err != nil {
		return err
	}
	p.render(w, r, s, http.StatusOK, "rotate", "Rotate the secret of "+visible(key.Name), "keys", &keyView{Key: key, Current: "rotate"})
	return nil
}

func (p *Page) rotate(w http.ResponseWriter, r *http.Request, s *session) error {
	created, err := p.Manager.Rotate(r.Context(), p.caller(r), r.PathValue("id"))
	if err != nil {
		return err
	}
	s.keep(created, true, p.Now())
	if where := p.where(r.Context(), created.Key.ID, confirmWait); where != "" {
		s.tell(notice{Text: "The former secret is refused here. " + visible(where), Warn: true})
	}
	http.Redirect(w, r, keyURL(created.Key.ID, "secret"), http.StatusSeeOther)
	return nil
}

func (p *Page) revokeForm(w http.ResponseWriter, r *http.Request, s *session) error {
	key, err := p.activeKey(r)
	if err != nil {
		return err
	}
	p.render(w, r, s, http.StatusOK, "revoke", "Revoke "+visible(key.Name), "keys", &keyView{Key: key, Current: "revoke"})
	return nil
}

func (p *Page) revoke(w http.ResponseWriter, r *http.Request, s *session) error {
	key, err := p.activeKey(r)
	if err != nil {
		return err
	}
	if err := p.Manager.Revoke(r.Context(), p.caller(r), key.ID); err != nil {
		return err
	}
	to := p.changed(r, s, key.ID, "“"+visible(key.Name)+"” is revoked. Requests with it are answered with 401 from now on.", "/keys")
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// activeKey returns the key of the address, if it can still be changed.
func (p *Page) activeKey(r *http.Request) (manage.Key, error) {
	key, err := p.Manager.Key(r.Context(), r.PathValue("id"))
	if err == nil && !key.Active() {
		err = manage.ErrRevoked
	}
	return key, err
}

func contains(list []string, s string) bool { return slices.Contains(list, s) }
