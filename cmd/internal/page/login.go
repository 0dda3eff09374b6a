package page

import (
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

type loginView struct {
	Next  string
	Fault string
	Info  string
	resumed
}

// home leads to the first page.
func (p *Page) home(w http.ResponseWriter, r *http.Request, _ *session) error {
	http.Redirect(w, r, "/keys", http.StatusSeeOther)
	return nil
}

// askForLogin answers a request that needs a session and has none.
func (p *Page) askForLogin(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		to := "/login"
		if next := r.URL.RequestURI(); next != "/" {
			to += "?next=" + url.QueryEscape(next)
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	}
	v := loginView{Fault: "Your session has ended, so nothing was changed. Log in, and repeat what you did."}
	if v.resumed = p.resumable(w, r); v.On() {
		v.Fault = "Your session has ended, so nothing was changed. Log in to continue with what you typed."
	}
	p.render(w, r, nil, http.StatusUnauthorized, "login", "Log in", "", v)
}

func (p *Page) loginForm(w http.ResponseWriter, r *http.Request, s *session) error {
	next := localPath(r.URL.Query().Get("next"))
	if s != nil {
		http.Redirect(w, r, next, http.StatusSeeOther)
		return nil
	}
	v := loginView{Next: next}
	if r.URL.Query().Has("out") {
		v.Info = "You are logged out."
	}
	p.render(w, r, nil, http.StatusOK, "login", "Log in", "", v)
	return nil
}

// maxLogin bounds what a login is without the form that goes along with it.
const maxLogin = 16 << 10

func (p *Page) login(w http.ResponseWriter, r *http.Request, s *session) error {
	// A form within a form has each percent sign encoded once more.
	if err := p.parseForm(w, r, maxLogin+3*p.maxForm()); err != nil {
		return err
	}
	if len(r.PostForm.Get("token"))+len(r.PostForm.Get("next")) > maxLogin {
		return errForm
	}
	addr := p.callerAddr(r)
	v := loginView{Next: localPath(r.PostForm.Get("next")), resumed: readResumed(r.PostForm)}
	// A pasted token often has white space around it.
	if !p.Authenticate(strings.TrimSpace(r.PostForm.Get("token"))) {
		p.wrongToken(w, r, addr, v)
		return nil
	}
	p.sessions.end(s)
	p.setCookie(w, r, p.sessions.open())
	p.Logger.InfoContext(r.Context(), "login", "client", addr)
	if v.On() {
		p.render(w, r, nil, http.StatusOK, "resume", "Logged in again", "", v.resumed)
		return nil
	}
	http.Redirect(w, r, v.Next, http.StatusSeeOther)
	return nil
}

// wrongToken answers a login with a wrong token.
func (p *Page) wrongToken(w http.ResponseWriter, r *http.Request, addr netip.Addr, v loginView) {
	status := http.StatusUnauthorized
	if wait := p.Guesses.Wrong(addr); wait > 0 {
		status = http.StatusTooManyRequests
		seconds := strconv.Itoa(int(math.Ceil(wait.Seconds())))
		w.Header().Set("Retry-After", seconds)
		v.Fault = "That token is wrong, as were too many before it. Log in with the right one at any time, or try another one in " + seconds + " seconds."
	} else {
		p.Logger.WarnContext(r.Context(), "login refused: wrong token", "client", addr)
		v.Fault = "That is not the administrator’s token. The server’s operator finds it in the file admin-token, in the server’s data directory."
	}
	p.render(w, r, nil, status, "login", "Log in", "", v)
}

func (p *Page) logout(w http.ResponseWriter, r *http.Request, s *session) error {
	p.sessions.end(s)
	p.setCookie(w, r, "")
	http.Redirect(w, r, "/login?out", http.StatusSeeOther)
	return nil
}

// localPath returns next if it is a path of this page, and the first page
// otherwise, so that a login never leads to another site.
func localPath(next string) string {
	const home = "/keys"
	if !strings.HasPrefix(next, "/") || len(next) > 4096 || strings.ContainsFunc(next, func(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7f }) {
		return home
	}
	u, err := url.Parse(next)
	if err != nil || u.Host != "" || u.Scheme != "" || u.User != nil || strings.HasPrefix(u.Path, "//") ||
		u.Path == "/" || u.Path == "/login" || u.Path == "/logout" || strings.HasSuffix(u.Path, "/secret") {
		return home
	}
	return u.RequestURI()
}
