package page

import (
	"net/http"
	"net/url"
	"slices"
)

// A resumed form is one that was sent when its session had ended. It goes along
// through the login, and is sent again by a button, so that nothing that was
// typed is lost.
type resumed struct {
	Path string
	Form string // as it came, without the token of a login
}

// resumable returns the form of a request without a session; the zero resumed
// is nothing to send again.
func (p *Page) resumable(w http.ResponseWriter, r *http.Request) resumed {
	if r.URL.Path == "/logout" || localPath(r.URL.Path) != r.URL.Path || p.parseForm(w, r, p.maxForm()) != nil {
		return resumed{}
	}
	return resumed{r.URL.Path, r.PostForm.Encode()}
}

// readResumed takes the form from that of the login.
func readResumed(form url.Values) resumed {
	f := resumed{form.Get("resume_path"), form.Get("resume")}
	if _, err := url.ParseQuery(f.Form); f.Path == "" || err != nil || localPath(f.Path) != f.Path {
		return resumed{}
	}
	return f
}

// On reports whether there is a form to send again.
func (f resumed) On() bool { return f.Path != "" }

// A resumedField is one value of the form.
type resumedField struct{ Name, Value string }

// Fields are the values of the form, those of one name in their order.
func (f resumed) Fields() (fields []resumedField) {
	values, err := url.ParseQuery(f.Form)
	if err != nil {
		return nil
	}
	var names []string
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range values[name] {
			fields = append(fields, resumedField{name, v})
		}
	}
	return fields
}
