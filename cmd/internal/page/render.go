package page

import (
	"bytes"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	hidden "github.com/ipallow/ipallow/cmd/internal/visible"
)

// A view is a template of templates/, in the frame of layout.html.
type view struct{ t *template.Template }

// A frame is what layout.html needs.
type frame struct {
	Title   string
	Nav     string // the part of the navigation that the page belongs to
	Session bool
	Fleet   bool // there is a page of the nodes
	Notices []notice
	Now     time.Time
	Body    any
}

// parseViews parses templates/: layout.html and the files that begin with _
// are common to all, each of the others is a view.
func (p *Page) parseViews() (map[string]*view, error) {
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		return nil, err
	}
	var common, own []string
	for _, n := range names {
		if base := path.Base(n); base == "layout.html" || base[0] == '_' {
			common = append(common, n)
		} else {
			own = append(own, n)
		}
	}
	views := map[string]*view{}
	for _, n := range own {
		t, err := template.New("layout.html").Funcs(p.funcs()).ParseFS(files, append(common, n)...)
		if err != nil {
			return nil, fmt.Errorf("settings page: %w", err)
		}
		views[strings.TrimSuffix(path.Base(n), ".html")] = &view{t}
	}
	return views, nil
}

func (p *Page) funcs() template.FuncMap {
	return template.FuncMap{
		"asset":      func(name string) string { return p.assets.url[name] },
		"visible":    visible,
		"fleet":      func() bool { return p.Propagation != nil },
		"lines":      hidden.Lines,
		"short":      short,
		"ago":        func(t time.Time) string { return ago(p.Now(), t) },
		"utc":        func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
		"iso":        func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"took":       took,
		"add":        func(a, b int) int { return a + b },
		"count":      count[int],
		"count64":    count[int64],
		"countU":     count[uint64],
		"number":     func(n int64) string { return group(fmt.Sprint(n)) },
		"numberU":    func(n uint64) string { return group(fmt.Sprint(n)) },
		"sentence":   sentence,
		"who":        who,
		"maxEntries": func() int { return p.Policy.MaxEntries },
		"acceptable": p.acceptable,
		"limits":     func() string { return limits(p.Policy) },
		"emptyRow":   func() row { return row{} },
		"args":       func(a ...any) []any { return a },
		"has":        func(list []string, s string) bool { return contains(list, s) },
	}
}

// render answers with a view. It is written to memory first, so that a fault
// of a template is an answer of its own and not half a page.
func (p *Page) render(w http.ResponseWriter, r *http.Request, s *session, status int, name, title, nav string, body any) {
	f := frame{Title: title, Nav: nav, Session: s != nil, Fleet: p.Fleet != nil, Now: p.Now(), Body: body}
	if s != nil && r.Method != http.MethodHead {
		f.Notices = s.told()
	}
	var b bytes.Buffer
	if err := p.views[name].t.Execute(&b, f); err != nil {
		p.Logger.ErrorContext(r.Context(), "settings page cannot be shown", "page", name, "error", err)
		http.Error(w, "The page cannot be shown; the server's log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(hidden.HTML(b.Bytes()))
}
