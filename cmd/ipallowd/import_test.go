package main

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/listfile"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func (p *process) entriesOf(id string) (texts []string) {
	p.t.Helper()
	var list struct{ Entries []entry }
	status, err := p.api("GET", "/keys/"+id+"/allowlist", nil, &list)
	require.NoError(p.t, err)
	require.Equal(p.t, http.StatusOK, status)
	for _, e := range list.Entries {
		texts = append(texts, e.Entry+" "+e.Label)
	}
	return texts
}

// What a server exports another one takes, by the API and from a directory, and
// the second time there is nothing to change.
func TestExportImport(t *testing.T) {
	data := t.TempDir()
	p := start(t, data)
	token := write(t, "token", testToken+"\n")
	server := []string{"--url", p.management, "--token-file", token}
	one := p.create("one", entry{"203.0.113.0/24", "office"}, entry{"2001:db8::1", ""})
	two := p.create("two", entry{"127.0.0.1", "this machine"})
	open := p.create("open")
	status, _, err := p.ping(two.Secret) // it is in use from here
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)

	code, out, errOut := call(t, append([]string{"export"}, server...)...)
	require.Equal(t, exitOK, code, errOut)
	require.Contains(t, errOut, "not in the file: 1")
	lists, err := listfile.Read("exported", strings.NewReader(out), nil)
	require.NoError(t, err)
	require.Len(t, lists, 2)
	require.NotContains(t, out, open.ID)
	exported := write(t, "lists.json", out)
	imp := func(want int, args ...string) string {
		t.Helper()
		code, out, errOut := call(t, append([]string{"import"}, args...)...)
		require.Equal(t, want, code, "%s\n%s", out, errOut)
		return out + errOut
	}
	with := func(args ...string) []string { return append(append([]string{}, server...), args...) }
	require.Contains(t, imp(exitOK, with(exported)...), "nothing to change")

	// The dry run shows and changes nothing.
	changed := write(t, "changed.txt", "["+one.ID+"]\n203.0.113.0/25 # office\n2001:db8::1\n["+open.ID+"]\n198.51.100.7\n127.0.0.1\n")
	said := imp(exitOK, with(changed)...)
	for _, want := range []string{
		`key ` + one.ID + ` "one"`, `  - 203.0.113.0/24 ("office")`, `  + 203.0.113.0/25 ("office")`,
		"  + 198.51.100.7", "It is served from everywhere now.", "Nothing was changed. --apply makes 2 changes.",
	} {
		require.Contains(t, said, want)
	}
	require.NotContains(t, said, "2001:db8::1", "what stays is not shown")
	require.Equal(t, []string{"203.0.113.0/24 office", "2001:db8::1/128 "}, p.entriesOf(one.ID))
	require.Contains(t, imp(exitOK, with("--apply", changed)...), "2 changes were made.")
	require.Equal(t, []string{"203.0.113.0/25 office", "2001:db8::1/128 "}, p.entriesOf(one.ID))
	require.Equal(t, []string{"198.51.100.7/32 ", "127.0.0.1/32 "}, p.entriesOf(open.ID))

	// Who would be locked out is named, and has to be confirmed.
	locks := write(t, "locks.json", fmt.Sprintf(`{"keys": {%q: ["203.0.113.9"]}}`, two.ID))
	require.Eventually(t, func() bool {
		return strings.Contains(imp(exitOK, with(locks)...), "LOCKS OUT 1 address in use: 127.0.0.1")
	},
		10*time.Second, 50*time.Millisecond, "the use of the key does not reach the log")
	require.Contains(t, imp(exitFailed, with("--apply", locks)...), "nothing was changed: 1 address in use would be locked out")
	require.Equal(t, []string{"127.0.0.1/32 this machine"}, p.entriesOf(two.ID))
	require.Contains(t, imp(exitOK, with("--apply", "--confirm-lockout", locks)...), "1 change was made.")
	require.Equal(t, []string{"203.0.113.9/32 "}, p.entriesOf(two.ID))

	// A file with faults changes nothing, and each is named with its line.
	bad := write(t, "bad.txt", "["+one.ID+"]\n203.0.113.5/24\n1.2.3.4.5\n[one]\n203.0.113.5\n[aaaaaaaaaaaaaaaa]\n203.0.113.5\n["+open.ID+"]\n198.51.100.8\n")
	said = imp(exitFailed, with("--apply", bad)...)
	for _, want := range []string{
		"nothing was changed:", bad + `:2: "203.0.113.5/24": host_bits_set`, bad + `:3: "1.2.3.4.5": invalid_syntax`,
		bad + `:4: no active key has the identifier "one"; the one of the key named so is "` + one.ID + `"`,
		bad + `:6: no active key has the identifier "aaaaaaaaaaaaaaaa"`,
	} {
		require.Contains(t, said, want)
	}
	require.Equal(t, []string{"198.51.100.7/32 ", "127.0.0.1/32 "}, p.entriesOf(open.ID))
	require.Contains(t, imp(exitUsage, with(write(t, "empty.json", "{}"))...), "the file holds no list")
	require.Contains(t, imp(exitOK, with(write(t, "open.json", fmt.Sprintf(`{"keys": {%q: []}}`, open.ID)))...), "SERVED FROM EVERYWHERE")

	// A directory is asked the same way, once its server is down, and not before.
	require.Contains(t, imp(exitFailed, "--data", data, exported), "stop the server of "+data+" first")
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.cmd.Wait())
	require.Contains(t, imp(exitFailed, with(exported)...), "connection refused")
	require.Contains(t, imp(exitOK, "--data", data, "--apply", exported), "2 changes were made.")
	code, out, errOut = call(t, "export", "--data", data)
	require.Equal(t, exitOK, code, errOut)
	require.Contains(t, out, two.ID)
	require.Contains(t, out, "this machine", "the policy is that of the directory, which allows loopback")
	require.Contains(t, out, "198.51.100.7", "a key that is not in the file keeps its list")
	code, _, errOut = call(t, "export", "--data", t.TempDir())
	require.Equal(t, exitFailed, code)
	require.Contains(t, errOut, "holds no keys")
}

// Keys that exist elsewhere are made by the hash of their secrets, with their
// lists from the first moment, and their clients need no new ones.
func TestImportKeys(t *testing.T) {
	data := t.TempDir()
	p := start(t, data)
	old := p.create("old")
	code, _, errOut := call(t, "export", "--url", p.management, "--token-file", write(t, "token", testToken))
	require.Equal(t, exitOK, code)
	require.Contains(t, errOut, "warning: no active key has an allowlist")
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.cmd.Wait())

	token := func(id string) (token string, row string) {
		secret, _ := keyring.NewSecret()
		return keyring.Token(id, secret), fmt.Sprintf("%s,%x", id, sha256.Sum256([]byte(secret)))
	}
	a, b := keyring.NewID(), keyring.NewID()
	aToken, aRow := token(a)
	bToken, bRow := token(b)
	head := "id,secret_sha256,name,scopes,report_only\n"
	keys := write(t, "keys.csv", head+aRow+",billing,read,\n"+bRow+",search,read write,false\n")
	lists := write(t, "lists.json", fmt.Sprintf(`{"keys": {%q: ["203.0.113.9"]}}`, b))

	code, out, errOut := call(t, "import", "--data", data, "--keys", keys, lists) // a dry run
	require.Equal(t, exitOK, code, errOut)
	require.Contains(t, out, `+ key `+a+` "billing": served from everywhere`)
	require.Contains(t, out, `+ key `+b+` "search": 1 entry`)
	require.Contains(t, out, "--apply makes 2 changes")
	code, out, errOut = call(t, "import", "--data", data, "--keys", keys, "--apply", lists)
	require.Equal(t, exitOK, code, errOut)
	require.Contains(t, out, "2 changes were made.")
	code, _, errOut = call(t, "import", "--data", data, "--keys", keys, "--apply", lists)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errOut, `key "`+a+`": a key with this identifier exists already`)

	for _, bad := range []struct{ text, want string }{
		{"", "the first line must name the columns"},
		{head, "the file has no key"},
		{"id,name,scopes\n", "the column secret_sha256 is missing"},
		{"id,secret_sha256,name,scopes,secret\n", `the column "secret" is unknown`},
		{head + a + ",abc,x,read,\n", ":2: secret_sha256 is not a SHA-256"},
		{head + "short," + strings.Repeat("0", 64) + ",x,read,\n", `:2: id "short"`},
		{head + aRow + ",x,read,\n" + aRow + ",y,read,\n", ":3: the key \"" + a + "\" is in line 2 already"},
		{head + aRow + ",x,read,maybe\n", ":2: report_only is \"maybe\""},
	} {
		code, _, errOut := call(t, "import", "--data", data, "--keys", write(t, "bad.csv", bad.text))
		require.Equal(t, exitUsage, code, bad.text)
		require.Contains(t, errOut, bad.want)
	}
	c := keyring.NewID()
	_, cRow := token(c)
	code, _, errOut = call(t, "import", "--data", data, "--apply", "--keys", write(t, "faults.csv", head+cRow+",,admin,\n"))
	require.Equal(t, exitFailed, code)
	require.Contains(t, errOut, "nothing was changed")
	require.Contains(t, errOut, "name")
	require.Contains(t, errOut, "admin")

	p = start(t, data)
	for _, k := range []struct {
		token string
		want  int
	}{{aToken, 200}, {bToken, 403}, {aToken[:len(aToken)-1] + "!", 401}, {old.Secret, 200}} {
		status, _, err := p.ping(k.token)
		require.NoError(t, err)
		require.Equal(t, k.want, status)
	}
	code, _, errOut = call(t, "import", "--url", p.management, "--token-file", write(t, "token", testToken), "--keys", keys)
	require.Equal(t, exitUsage, code)
	require.Contains(t, errOut, "--keys needs the data directory")
}

// Tokens of another system, of whatever form, go on working at the gateway: they are
// imported by the SHA-256 of the whole token, and their lists by the names of their keys.
func TestImportForeignKeys(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := start(t, data)
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.cmd.Wait())

	tokens := []string{"sk_live_4eC39HqLyjWDarjtT1zdp7dc", "7f9c2ba4e88f827d616045507605853e", "a+b/c.d~e-f_g=="}
	rows := "name,scopes,token_sha256\n"
	for i, token := range tokens {
		rows += fmt.Sprintf("key %d,read,%X\n", i, sha256.Sum256([]byte(token)))
	}
	keys := write(t, "keys.csv", rows)
	id := keyring.ForeignID(sha256.Sum256([]byte(tokens[2])))
	lists := write(t, "lists.json", fmt.Sprintf(`{"keys": {"key 0": ["203.0.113.9"], "key 1": ["127.0.0.1"], %q: ["127.0.0.0/24"]}}`, id))
	code, out, errOut := call(t, "import", "--data", data, "--keys", keys, lists)
	require.Equal(t, exitOK, code, errOut)
	require.Equal(t, 3, strings.Count(out, ": 1 entry"), out)
	require.Contains(t, out, "+ key "+id+` "key 2"`)
	code, _, errOut = call(t, "import", "--data", data, "--keys", keys, "--apply", lists)
	require.Equal(t, exitOK, code, errOut)
	code, _, errOut = call(t, "import", "--data", data, "--keys", keys, "--apply")
	require.Equal(t, exitFailed, code)
	require.Equal(t, 3, strings.Count(errOut, "exists already"), errOut)

	const head = "name,scopes,token_sha256\n"
	zero := strings.Repeat("0", 64)
	for _, bad := range []struct{ text, want string }{
		{"id," + head, "the column id does not go with token_sha256"},
		{"secret_sha256," + head, "the column secret_sha256 does not go with token_sha256"},
		{"name,token_sha256\n", "the column scopes is missing"},
		{"name,scopes,token\n", `the column "token" is unknown`},
		{head + "x,read," + tokens[0] + "\n", ":2: token_sha256 is not a SHA-256 in hexadecimal"},
		{head + "x,read," + zero + "\ny,read," + zero + "\n", "is in line 2 already"},
	} {
		code, _, errOut := call(t, "import", "--data", data, "--keys", write(t, "bad.csv", bad.text))
		require.Equal(t, exitUsage, code, bad.text)
		require.Contains(t, errOut, bad.want)
		require.NotContains(t, errOut, tokens[0], "a token that stands where its hash should")
	}

	p = start(t, data)
	for i, want := range []int{http.StatusForbidden, http.StatusOK, http.StatusOK} {
		for _, header := range []string{"Authorization", "X-API-Key"} {
			req, err := http.NewRequest("GET", p.gateway+"/v1/ping", nil)
			require.NoError(t, err)
			req.Header.Set(header, map[string]string{"Authorization": "Bearer ", "X-API-Key": ""}[header]+tokens[i])
			resp, err := p.client.Do(req)
			require.NoError(t, err)
			resp.Body.Close()
			require.Equal(t, want, resp.StatusCode, tokens[i])
		}
		status, _, err := p.ping(tokens[i] + "x")
		require.NoError(t, err)
		require.Equal(t, http.StatusUnauthorized, status)
	}
	// A new secret is of our own form and takes the place of the old token.
	var k createdKey
	status, err := p.api("POST", "/keys/"+id+"/rotate", nil, &k)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	for token, want := range map[string]int{tokens[2]: http.StatusUnauthorized, k.Secret: http.StatusOK} {
		status, _, err = p.ping(token)
		require.NoError(t, err)
		require.Equal(t, want, status)
	}
	require.NotContains(t, p.said(), tokens[2])
}

// A token goes nowhere but to the server that was named.
func TestImportWrongServer(t *testing.T) {
	token := write(t, "token", testToken)
	other := http.NewServeMux()
	other.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
	})
	server := httptest.NewServer(other)
	defer server.Close()
	srv := server.URL
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"export", "--url", srv, "--token-file", token}, exitFailed, "is not the management API of ipallowd"},
		{[]string{"export", "--url", "localhost:8081", "--token-file", token}, exitUsage, "want one such as https://"},
		{[]string{"export", "--url", srv}, exitUsage, "needs the administrator's token"},
		{[]string{"export", "--url", srv, "--token-file", token + "x"}, exitUsage, "--token-file"},
		{[]string{"export", "--token-file", token}, exitUsage, "--token-file is for --url"},
		{[]string{"export", "--url", srv, "--data", "x"}, exitUsage, "give --data or --url, not both"},
		{[]string{"import"}, exitUsage, "name a file of allowlists"},
	} {
		code, out, errOut := call(t, c.args...)
		require.Equal(t, c.code, code, "%v: %s", c.args, errOut)
		require.Empty(t, out)
		require.Contains(t, errOut, c.want, "%v", c.args)
	}
}

func TestCommandLine(t *testing.T) {
	code, out, _ := call(t, "--version")
	require.Equal(t, exitOK, code)
	require.Regexp(t, `^ipallowd version \S+\n$`, out)
	for _, args := range [][]string{{"sevre"}, {"sevre", "--listen", ":0"}} {
		code, _, errOut := call(t, args...)
		require.Equal(t, exitUsage, code)
		require.Contains(t, errOut, `there is no command "sevre"; did you mean "serve"?`)
	}
	for _, command := range [][]string{{"serve"}, {"gateway"}, {"export"}, {"import"}, {"fleet", "init"}, {"fleet", "adopt"}} {
		code, out, _ := call(t, append(command, "--help")...)
		require.Equal(t, exitOK, code)
		require.Contains(t, out, "Examples:\n  ", "%v", command)
	}
	code, out, _ = call(t, "__complete", "serve", "--log-level", "")
	require.Equal(t, exitOK, code)
	require.Equal(t, "debug\ninfo\nwarn\nerror\n:4\n", out)
}

// A variable that no setting reads is named, with the one that was meant.
func TestMisspeltVariables(t *testing.T) {
	t.Setenv("IPALLOWD_UPSTRAEM", "http://127.0.0.1:9000")
	t.Setenv("IPALLOWD_SOMETHING_ELSE_ENTIRELY", "1")
	t.Setenv("IPALLOW_TRUSTED_PROXIES", "10.0.0.1")
	t.Setenv("IPALLOW_OF_SOMEBODY", "1")
	t.Setenv("IPALLOWD_ADMIN_LISTEN", "127.0.0.1:0") // of another command: no mistake
	code, _, errOut := call(t, "export", "--data", t.TempDir())
	require.Equal(t, exitFailed, code)
	require.Contains(t, errOut, `warning: the variable IPALLOWD_UPSTRAEM is not a setting and was not read; did you mean "IPALLOWD_UPSTREAM"?`)
	require.Contains(t, errOut, "the variable IPALLOWD_SOMETHING_ELSE_ENTIRELY is not a setting and was not read\n")
	require.Contains(t, errOut, `the variable IPALLOW_TRUSTED_PROXIES is not a setting and was not read; did you mean "IPALLOWD_TRUSTED_PROXIES"?`)
	require.NotContains(t, errOut, "SOMEBODY")
	require.NotContains(t, errOut, "ADMIN_LISTEN")
	require.NotContains(t, errOut, "9000", "values may be secrets")
}
