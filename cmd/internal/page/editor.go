package page

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/canon"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// editorView is the IP allowlist of a key.
type editorView struct {
	Key     manage.Key
	Current string
	Draft   *draft
	Tag     string // of the list that the user has seen
	Dirty   bool   // the draft is not what is stored
	Long    int    // the length of a list that is too long to be edited here

	Used []*usedView // nil: the usage log cannot be read

	Unrestricts bool                 // to be confirmed: anybody would be served
	Lockout     *manage.LockoutError // to be confirmed: who would be refused
	Unknown     bool                 // to be confirmed: nobody knows who would be
	Conflict    *conflictView
}

// conflictView shows what somebody else saved beside what is in the form.
type conflictView struct {
	By      *manage.AuditRecord // who did it, if known
	Changes []change            // from what is stored to what is in the form
}

// action returns what the form's button asks for. Where Enter was pressed in a
// field, no button of the user's was: then a test address or lines that were
// typed are what is meant, and otherwise fallback.
func (d *draft) action(r *http.Request, fallback string) string {
	action := r.PostForm.Get("action")
	if action != "enter" {
		return action
	}
	switch {
	case d.Test != r.PostForm.Get("tested"):
		return "test"
	case strings.TrimSpace(d.Paste) != "":
		return "paste"
	}
	return fallback
}

func (p *Page) allowlistForm(w http.ResponseWriter, r *http.Request, s *session) error {
	key, err := p.Manager.Key(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	list, err := p.Manager.Allowlist(r.Context(), key.ID)
	if err != nil {
		return err
	}
	if n := len(list.Entries); n > maxEdited {
		v := &editorView{Key: key, Draft: p.draftOf(r, list.Entries[:maxEdited]), Current: "allowlist", Long: n}
		p.render(w, r, s, http.StatusOK, "allowlist", "IP allowlist of "+visible(key.Name), "keys", v)
		return nil
	}
	v := &editorView{Key: key, Draft: p.draftOf(r, list.Entries), Tag: list.Tag}
	if add, err := netip.ParseAddr(r.URL.Query().Get("add")); err == nil && key.Active() {
		add = canon.Addr(add)
		if ipallow.Compile(list.Entries).Contains(add) {
			s.tell(notice{Text: add.String() + " is in the list already: a request from there is served."})
		} else {
			v.Draft.add(add.String(), "").Focus = true
			v.Dirty = true
			s.tell(notice{Text: add.String() + " is added below, but not saved yet. Give it a label, then save.", Warn: true})
		}
	}
	p.showEditor(w, r, s, http.StatusOK, v)
	return nil
}

// showEditor fills in what each view of the editor has and renders it.
func (p *Page) showEditor(w http.ResponseWriter, r *http.Request, s *session, status int, v *editorView) {
	v.Current = "allowlist"
	faults, entries, ok := v.Draft.Faults, []ipallow.Entry(nil), false
	if len(faults) == 0 && v.Draft.Faulty() == 0 {
		entries, ok = p.check(v.Draft)
	}
	compiled := ipallow.Compile(entries)
	seen, err := p.Manager.Seen(r.Context(), v.Key.ID)
	if err != nil {
		p.Logger.WarnContext(r.Context(), "settings page: addresses seen lately cannot be read", "key", v.Key.ID, "error", err)
	} else {
		v.Used = p.usedViews(seen, func(a netip.Addr) bool { return ok && compiled.Contains(a) })
	}
	p.render(w, r, s, status, "allowlist", "IP allowlist of "+visible(v.Key.Name), "keys", v)
}

func (p *Page) allowlist(w http.ResponseWriter, r *http.Request, s *session) error {
	if err := p.parseForm(w, r, p.maxForm()); err != nil {
		return err
	}
	key, err := p.activeKey(r)
	if err != nil {
		return err
	}
	d, err := p.readDraft(r)
	if err != nil {
		return err
	}
	v := &editorView{Key: key, Draft: d, Tag: r.PostForm.Get("tag"), Dirty: true}
	if v.Tag == "" {
		return errForm // without it, a save would overwrite whatever is there
	}
	action := d.action(r, "save")
	if p.apply(d, action) {
		p.showEditor(w, r, s, http.StatusOK, v)
		return nil
	}
	stored, err := p.Manager.Allowlist(r.Context(), key.ID)
	if err != nil {
		return err
	}
	switch {
	case action == "merge":
		for _, c := range diff(d.entries(), texts(stored.Entries)) {
			if c.Kind == added {
				d.add(c.Entry, c.Label)
			}
		}
		p.check(d)
		d.Focus = "rows"
		p.showEditor(w, r, s, http.StatusOK, v)
		return nil
	case action != "save" && action != "unrestrict" && action != "lockout":
		return errForm
	case stored.Tag != v.Tag:
		return p.showConflict(w, r, s, v, stored)
	}
	if _, ok := p.check(d); !ok {
		d.Focus = "faults"
		p.showEditor(w, r, s, http.StatusUnprocessableEntity, v)
		return nil
	}
	return p.save(w, r, s, v, action)
}

// save stores the draft, or asks for what must be confirmed first.
func (p *Page) save(w http.ResponseWriter, r *http.Request, s *session, v *editorView, action string) error {
	by, d := p.caller(r), v.Draft
	list, at := d.list()
	would, err := p.Manager.Try(r.Context(), by, v.Key.ID, &list, nil)
	if errors.Is(err, manage.ErrLockoutUnknown) {
		if action != "lockout" {
			return p.askUnknown(w, r, s, v, err)
		}
	} else if err != nil {
		return err
	}
	if would.Unrestricts && action != "unrestrict" {
		v.Unrestricts = true
		p.showEditor(w, r, s, http.StatusOK, v)
		return nil
	}
	if would.Lockout != nil && (action != "lockout" || !confirms(r.PostForm, would.Lockout)) {
		v.Lockout = would.Lockout
		p.showEditor(w, r, s, http.StatusConflict, v)
		return nil
	}
	_, err = p.Manager.SetAllowlist(r.Context(), by, v.Key.ID, manage.ListEdit{
		Entries: list, IfMatch: v.Tag, ConfirmLockout: action == "lockout",
	})
	var lockout *manage.LockoutError
	switch {
	case err == nil:
	case errors.As(err, &lockout):
		v.Lockout = lockout
		p.showEditor(w, r, s, http.StatusConflict, v)
		return nil
	case errors.Is(err, manage.ErrLockoutUnknown):
		return p.askUnknown(w, r, s, v, err)
	case errors.Is(err, manage.ErrConflict):
		stored, err := p.Manager.Allowlist(r.Context(), v.Key.ID)
		if err != nil {
			return err
		}
		return p.showConflict(w, r, s, v, stored)
	case d.blame(err, at):
		d.Focus = "faults"
		p.showEditor(w, r, s, http.StatusUnprocessableEntity, v)
		return nil
	default:
		return err
	}
	text := "Saved: " + count(len(list), "entry is", "entries are") + " in force from the next request."
	if len(list) == 0 {
		text = "Saved: the key has no allowlist now and is served from every address."
	}
	http.Redirect(w, r, p.changed(r, s, v.Key.ID, text, keyURL(v.Key.ID, "allowlist")), http.StatusSeeOther)
	return nil
}

// askUnknown asks whether to save a list although the usage log cannot be read.
func (p *Page) askUnknown(w http.ResponseWriter, r *http.Request, s *session, v *editorView, err error) error {
	p.Logger.ErrorContext(r.Context(), "settings page: who would be locked out cannot be read", "key", v.Key.ID, "error", err)
	v.Unknown = true
	p.showEditor(w, r, s, http.StatusConflict, v)
	return nil
}

// showConflict shows what is stored beside the draft. The user has seen both
// then, so the next save may replace what is stored now, but nothing newer.
func (p *Page) showConflict(w http.ResponseWriter, r *http.Request, s *session, v *editorView, stored manage.Allowlist) error {
	v.Tag = stored.Tag
	v.Conflict = &conflictView{Changes: diff(texts(stored.Entries), v.Draft.entries())}
	// The newest change of the key is most often the one; a later edit of its
	// name stands in front of it.
	audit, err := p.Manager.Audit(r.Context(), manage.AuditQuery{KeyID: v.Key.ID, Limit: 10})
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(audit.Records, func(a manage.AuditRecord) bool { return a.Action == manage.ActionList }); i >= 0 {
		v.Conflict.By = &audit.Records[i]
	}
	p.showEditor(w, r, s, http.StatusConflict, v)
	return nil
}

// entries returns the rows that are not empty.
func (d *draft) entries() []manage.ListEntry {
	list, _ := d.list()
	return list
}

// confirms reports whether the form confirms this lock-out: what the user was
// told of is asked about again if it has become more since. Where there are more
// addresses than a form names, their number counts.
func confirms(form url.Values, l *manage.LockoutError) bool {
	if l.Total > len(l.Addresses) {
		n, err := strconv.Atoi(form.Get("confirmed_total"))
		return err == nil && l.Total <= n
	}
	return !slices.ContainsFunc(l.Addresses, func(a manage.SeenAddress) bool {
		return !slices.Contains(form["confirmed"], a.Addr.String())
	})
}
