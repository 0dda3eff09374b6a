package manage_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
)

// killRounds says how often TestKill kills; IPALLOW_KILL_ROUNDS, or 5.
func killRounds(t *testing.T) int {
	n := 5
	if s := os.Getenv("IPALLOW_KILL_ROUNDS"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	return n
}

// killChild is the child process of TestKill: four goroutines create a key
// each, save a list for it again and again, rotate it, and revoke it in the
// end. Each line on its output was acknowledged before it was printed.
//
// The n-th list of a key has n as its label, so that a later one can be told
// from an earlier one.
func killChild(path string) {
	s, err := manage.Open(context.Background(), manage.Options{Path: path, Outbox: true,
		Engine: ipallow.New(&ipallow.Options{DenyUntilLoaded: true}), Ring: new(keyring.Ring)})
	if err != nil {
		panic(err)
	}
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	ctx := context.Background()
	for range 4 {
		go func() {
			for {
				entry := func(n int) []manage.ListEntry {
					return []manage.ListEntry{{Entry: fmt.Sprintf("20.0.%d.%d", n>>8, n&0xff), Label: strconv.Itoa(n)}}
				}
				c, err := s.Create(ctx, by, manage.NewKey{Name: "a", Scopes: []string{"read"}, Allowlist: entry(1)})
				check(err)
				fmt.Printf("token %s %s\n", c.Key.ID, c.Token)
				for n := 2; n < 8; n++ {
					_, err := s.SetAllowlist(ctx, by, c.Key.ID, manage.ListEdit{Entries: entry(n)})
					check(err)
					fmt.Printf("list %s %d\n", c.Key.ID, n)
				}
				if rand.IntN(3) == 0 {
					c, err = s.Rotate(ctx, by, c.Key.ID)
					check(err)
					fmt.Printf("token %s %s\n", c.Key.ID, c.Token)
				}
				if rand.IntN(3) == 0 {
					check(s.Revoke(ctx, by, c.Key.ID))
					fmt.Printf("revoked %s\n", c.Key.ID)
				}
			}
		}()
	}
	select {}
}

// An ackedKey is what the child said of a key.
type ackedKey struct {
	token   string
	list    int
	revoked bool
	last    bool // of its round: one more change may be stored that was not said
}

// TestKill kills a process that makes changes, with SIGKILL at random moments.
// Every change that it had acknowledged is there afterwards, and in force; the
// database opens and is whole.
func TestKill(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	var st *store
	var acked map[string]*ackedKey
	changes, unsaid := 0, 0
	for round := range killRounds(t) {
		if round%10 == 0 { // begin anew, or the checks take longer and longer
			st, acked = newStore(t), make(map[string]*ackedKey)
		}
		changes += runAndKill(t, exe, st.Path, acked)
		st.sql(func(db *sql.DB) {
			var result string
			require.NoError(t, db.QueryRow("PRAGMA integrity_check").Scan(&result))
			require.Equal(t, "ok", result)
			require.ErrorIs(t, db.QueryRow("PRAGMA foreign_key_check").Scan(), sql.ErrNoRows)
		})
		s := st.open()
		for id, want := range acked {
			ahead := 0
			if want.last {
				ahead = 1
			}
			k, err := s.Key(t.Context(), id)
			require.NoError(t, err, "round %d: an acknowledged key is lost", round)
			l, err := s.Allowlist(t.Context(), id)
			require.NoError(t, err)
			n, err := strconv.Atoi(l.Entries[0].Label)
			require.NoError(t, err)
			require.GreaterOrEqual(t, n, want.list, "round %d: an acknowledged list is lost", round)
			require.LessOrEqual(t, n, want.list+ahead, "round %d: a list that nobody saved", round)
			known := st.Ring.Authenticate(want.token)
			switch {
			case want.revoked:
				require.False(t, k.Active(), "round %d: an acknowledged revocation is lost", round)
				require.Nil(t, st.Ring.Get(id))
			case !k.Active() || known == nil: // revoked or rotated, and killed before it was said
				require.Equal(t, 1, ahead)
				require.Equal(t, 7, n)
				unsaid++
			default:
				inForce, _ := st.Engine.Snapshot().Entries(id)
				require.Equal(t, l.Entries, inForce)
				require.Equal(t, ipallow.Denied, st.Engine.Check(id, outside))
			}
			// From now on this is what must stay.
			want.list, want.last, want.revoked = n, false, !k.Active()
			if known == nil && k.Active() {
				delete(acked, id) // its token is one that nobody knows
			}
		}
		require.NoError(t, s.Close())
		outbox := st.rows("SELECT count(*), coalesce(max(seq), 0) FROM outbox")[0]
		audit := st.rows("SELECT count(*), coalesce(max(id), 0) FROM audit")[0]
		require.Equal(t, audit, outbox, "a change is in the trail and in the outbox, or in neither")
	}
	t.Logf("%d rounds, %d changes acknowledged, none lost; %d rotations or revocations stored and not said", killRounds(t), changes, unsaid)
	require.Positive(t, changes, "nothing was acknowledged: the test shows nothing")
}

// runAndKill runs the child until a random moment, adds what it said to acked
// and returns how many changes that was.
func runAndKill(t *testing.T, exe, path string, acked map[string]*ackedKey) (changes int) {
	t.Helper()
	cmd := exec.Command(exe, "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"=kill:"+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	first := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		began := sync.OnceFunc(func() { close(first) })
		defer began()
		r := bufio.NewReader(out)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return // a line cut short by the kill was not said
			}
			f := strings.Fields(line)
			k := acked[f[1]]
			if k == nil {
				k = &ackedKey{list: 1, last: true}
				acked[f[1]] = k
			}
			switch f[0] {
			case "token":
				k.token = f[2]
			case "list":
				k.list, _ = strconv.Atoi(f[2])
			case "revoked":
				k.revoked = true
			}
			changes++
			began()
		}
	}()
	select {
	case <-first:
	case <-time.After(30 * time.Second):
		t.Error("the child acknowledged nothing in 30 s")
	}
	time.Sleep(time.Duration(rand.IntN(150_000)) * time.Microsecond)
	require.NoError(t, cmd.Process.Kill())
	<-done
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	require.False(t, exit.Exited(), "the child ended by itself")
	return changes
}
