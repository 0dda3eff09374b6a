package usagelog

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var killRounds = flag.Int("killrounds", 5, "rounds of TestKill")

// killEnv holds the directory for the child process of TestKill.
const killEnv = "USAGELOG_KILL_DIR"

// A fileStore is a durable store for TestKill: a file to which frames are
// appended. It is idempotent by ID and cuts a torn tail when it is opened.
type fileStore struct {
	*MemoryStore
	mu    sync.Mutex
	f     *os.File
	twice int // records that are in the file more than once
}

func openFileStore(name string) (*fileStore, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	s := &fileStore{MemoryStore: NewMemoryStore(0), f: f}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	fr := &frameReader{src: f, end: info.Size()}
	for {
		var r Record
		good := fr.off
		ok, err := fr.next(&r)
		if err != nil {
			return nil, err
		}
		if !ok {
			f.Truncate(good)
			_, err = f.Seek(good, io.SeekStart)
			return s, err
		}
		before := s.Len()
		s.MemoryStore.Append(context.Background(), []Record{r})
		if s.Len() == before {
			s.twice++
		}
	}
}

func (s *fileStore) Append(ctx context.Context, recs []Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b []byte
	for i := range recs {
		before := s.Len()
		if err := s.MemoryStore.Append(ctx, recs[i:i+1]); err != nil {
			return err
		}
		if s.Len() > before {
			b = appendFrame(b, &recs[i])
		}
	}
	_, err := s.f.Write(b)
	return err
}

// killChild is the child process: it records from several goroutines, by
// Append and by Record with Flush, and prints what was acknowledged.
func killChild() {
	dir := os.Getenv(killEnv)
	store, err := openFileStore(filepath.Join(dir, "store"))
	if err != nil {
		panic(err)
	}
	slow := newFaultyStore(nil)
	rnd := rand.New(rand.NewPCG(rand.Uint64(), 1))
	slow.fault = func(ctx context.Context, recs []Record) error {
		switch rnd.IntN(4) {
		case 0:
			return errors.New("down")
		case 1:
			time.Sleep(time.Duration(rnd.IntN(20)) * time.Millisecond)
		}
		return store.Append(ctx, recs)
	}
	w, err := Open(filepath.Join(dir, "wal"), slow, &Options{
		Linger: time.Millisecond, BatchRecords: 64,
		QueueBytes: minQueueBytes, WALBytes: 16 << 20, Fsync: rnd.IntN(4) == 0,
	})
	if err != nil {
		panic(err)
	}
	fmt.Printf("replayed %d\n", w.Stats().Replayed)
	ctx := context.Background()
	run := rand.Uint64()
	for g := range 6 {
		go func() {
			for n := 0; ; n++ {
				r := sample(n)
				r.Time = time.Time{} // the Writer's, so that the store appends
				r.RequestID = fmt.Sprintf("%x-%d-%d", run, g, n)
				if g < 4 {
					if w.Append(ctx, r) == nil {
						fmt.Printf("ack %s\n", r.RequestID)
					}
					continue
				}
				var ids strings.Builder
				for i := range 20 {
					r.RequestID = fmt.Sprintf("%x-%d-%d-%d", run, g, n, i)
					if w.Record(r) {
						fmt.Fprintf(&ids, "ack %s\n", r.RequestID)
					}
				}
				if w.Flush(ctx) == nil {
					os.Stdout.WriteString(ids.String())
				}
			}
		}()
	}
	select {}
}

// TestKill kills a process that records, with SIGKILL at random moments, and
// checks that what it had acknowledged is stored, once. Some rounds kill two
// or three processes before they look, so that a replay is killed too.
func TestKill(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	var dir string
	var acked map[string]bool
	var kills, killedWithBacklog, total int
	var replayed uint64
	for round := range *killRounds {
		if round%5 == 0 { // begin anew, or opening takes longer and longer
			dir, acked = t.TempDir(), make(map[string]bool)
		}
		for range 1 + round%3 {
			ids, backlog := runAndKill(t, exe, dir)
			total += len(ids)
			for _, id := range ids {
				acked[id] = true
			}
			kills++
			if backlog {
				killedWithBacklog++
			}
		}
		store, err := openFileStore(filepath.Join(dir, "store"))
		require.NoError(t, err)
		w, err := Open(filepath.Join(dir, "wal"), store, nil)
		require.NoError(t, err)
		replayed += w.Stats().Replayed
		require.NoError(t, w.Close(within(t)))
		s := w.Stats()
		balanced(t, s)
		require.Zero(t, s.Lost.Total())
		require.Zero(t, s.DamagedStretches, "kill -9 leaves torn tails, no damage between records")
		require.NoError(t, store.f.Close())

		store, err = openFileStore(filepath.Join(dir, "store"))
		require.NoError(t, err)
		require.NoError(t, store.f.Close())
		have := stored(t, store)
		for id := range acked {
			if have[id] != 1 {
				t.Fatalf("round %d: acknowledged %s is stored %d times", round, id, have[id])
			}
		}
		for id, n := range have {
			if n != 1 {
				t.Fatalf("round %d: %s is stored %d times", round, id, n)
			}
		}
		require.Zero(t, store.twice, "round %d: records in the file twice", round)
	}
	t.Logf("%d rounds, %d kills (%d with records waiting), %d acknowledged, %d replayed, none lost, none twice",
		*killRounds, kills, killedWithBacklog, total, replayed)
	require.Positive(t, total, "nothing was acknowledged: the test shows nothing")
	require.Positive(t, replayed, "nothing was ever replayed: the test shows nothing")
}

// runAndKill runs the child until a random moment and returns what it said to
// have acknowledged, and whether a write-ahead file was left.
func runAndKill(t *testing.T, exe, dir string) (acked []string, backlog bool) {
	t.Helper()
	cmd := exec.Command(exe, "-test.run=^$")
	cmd.Env = append(os.Environ(), killEnv+"="+dir)
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
			if id, ok := strings.CutPrefix(line, "ack "); ok {
				acked = append(acked, strings.TrimSuffix(id, "\n"))
				began()
			}
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
	err = cmd.Wait()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.False(t, exit.Exited(), "the child ended by itself: %v", err)
	names, err := filepath.Glob(filepath.Join(dir, "wal", "wal-*"))
	require.NoError(t, err)
	return acked, len(names) > 0
}
