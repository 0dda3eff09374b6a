package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"
)

// unpack makes a data directory of an archive of testdata/upgrades.
func unpack(t *testing.T, archive string) (data string) {
	t.Helper()
	data = t.TempDir()
	r, err := zip.OpenReader(archive)
	require.NoError(t, err)
	defer r.Close()
	for _, f := range r.File {
		src, err := f.Open()
		require.NoError(t, err)
		b, err := io.ReadAll(src)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(data, filepath.Base(f.Name)), b, 0o600))
	}
	return data
}

// csvDigest returns the digest of the log's records of before the upgrade, in the
// columns and the order of the version that wrote them.
func csvDigest(t *testing.T, p *process, columns []string, most int) (records int, digest string) {
	t.Helper()
	req, err := http.NewRequest("GET", p.management+"/api/v1/logs.csv", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+testToken)
	resp, err := p.client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	rows, err := csv.NewReader(resp.Body).ReadAll()
	require.NoError(t, err)
	require.NotEmpty(t, rows)
	rows = append(rows[:1:1], rows[max(1, len(rows)-most):]...) // the oldest
	h := sha256.New()
	for _, row := range rows {
		var cells []string
		for _, c := range columns {
			i := slices.Index(rows[0], c)
			require.GreaterOrEqual(t, i, 0, "the export has no column %s any more", c)
			cells = append(cells, row[i])
		}
		fmt.Fprintf(h, "%s\n", strings.Join(cells, "\x1f"))
	}
	return len(rows) - 1, fmt.Sprintf("%x", h.Sum(nil))
}

// TestUpgrade starts on a data directory of each schema that there was. Keys and
// lists are in force, every record of the log is there, unchanged, before and after
// its blocks were written anew.
func TestUpgrade(t *testing.T) {
	archives, err := filepath.Glob(filepath.Join("testdata", "upgrades", "*.zip"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(archives), 5)
	for _, archive := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(archive), ".zip"), func(t *testing.T) {
			t.Parallel()
			data := unpack(t, archive)
			text, err := os.ReadFile(filepath.Join(data, "logs.sha256"))
			require.NoError(t, err)
			was := strings.Fields(string(text))
			columns := strings.Split(was[0], ",")
			var most int
			_, err = fmt.Sscan(was[1], &most)
			require.NoError(t, err)
			secret, err := os.ReadFile(filepath.Join(data, "open-key"))
			require.NoError(t, err)

			for round := range 2 {
				p := start(t, data, "--log-retention", "0")
				var keys struct {
					Keys []struct{ ID, Name, Status string }
				}
				status, err := p.api("GET", "/keys", nil, &keys)
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, status)
				require.Len(t, keys.Keys, 2)
				status, _, err = p.ping(string(secret))
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, status)
				var list struct {
					Allowlist []entry `json:"allowlist"`
					Entries   []entry `json:"entries"`
				}
				status, err = p.api("GET", "/keys/"+keys.Keys[0].ID+"/allowlist", nil, &list)
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, status)
				require.Equal(t, []entry{{"203.0.113.7/32", "office"}}, append(list.Allowlist, list.Entries...))

				records, digest := csvDigest(t, p, columns, most)
				require.Equal(t, most, records, "round %d", round)
				require.Equal(t, was[2], digest, "round %d", round)
				require.Eventually(t, func() bool { return earlierBlocks(t, data) == 0 }, time.Minute, 20*time.Millisecond,
					"blocks of the earlier version are written anew")
				records, digest = csvDigest(t, p, columns, most)
				require.Equal(t, most, records, "round %d, rewritten", round)
				require.Equal(t, was[2], digest, "round %d, rewritten", round)
				if round == 1 { // a key of before can be revoked
					for _, k := range keys.Keys {
						status, err = p.api("DELETE", "/keys/"+k.ID, nil, nil)
						require.NoError(t, err)
						require.Less(t, status, 300)
					}
					status, _, err = p.ping(string(secret))
					require.NoError(t, err)
					require.Equal(t, http.StatusUnauthorized, status)
				}
				p.kill()
			}
			require.Empty(t, aside(t, data))
		})
	}
}

func earlierBlocks(t *testing.T, data string) (n int) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(data, "usage.db")+"?_pragma=query_only(1)&_pragma=busy_timeout(5000)")
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.QueryRow("SELECT count(*) FROM blocks WHERE class = -2").Scan(&n))
	return n
}

func aside(t *testing.T, data string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(data, "usage.db.set-aside-*"))
	require.NoError(t, err)
	return found
}

// TestLogSetAside starts beside a log that cannot be upgraded: the keys are up, the
// log begins anew, and the old one is still there, as it was.
func TestLogSetAside(t *testing.T) {
	for name, spoil := range map[string]func(db *sql.DB) error{
		"newer": func(db *sql.DB) error {
			_, err := db.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (1000, 1)")
			return err
		},
		"changed by hand": func(db *sql.DB) error {
			_, err := db.Exec("DROP TABLE blocks")
			return err
		},
		"said to be new": func(db *sql.DB) error {
			migrations, err := filepath.Glob(filepath.Join("..", "internal", "logstore", "migrations", "*.sql"))
			if err != nil || len(migrations) < 4 {
				return fmt.Errorf("migrations %q: %w", migrations, err)
			}
			for i := range migrations[1:] {
				if _, err = db.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (?, 1)", i+2); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := unpack(t, filepath.Join("testdata", "upgrades", "b5682e2.zip"))
			log := filepath.Join(data, "usage.db")
			db, err := sql.Open("sqlite", log)
			require.NoError(t, err)
			require.NoError(t, spoil(db))
			require.NoError(t, db.Close())
			was, err := os.ReadFile(log)
			require.NoError(t, err)
			secret, err := os.ReadFile(filepath.Join(data, "open-key"))
			require.NoError(t, err)

			for range 2 { // the second time it is well
				p := start(t, data)
				status, id, err := p.ping(string(secret))
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, status)
				require.Eventually(t, func() bool {
					var page struct {
						Records []struct {
							RequestID string `json:"request_id"`
						}
					}
					status, err := p.api("GET", "/logs?limit=1", nil, &page)
					return err == nil && status == http.StatusOK && len(page.Records) == 1 && page.Records[0].RequestID == id
				}, time.Minute, 20*time.Millisecond, "the new log records")
				found := aside(t, data)
				require.Len(t, found, 1)
				now, err := os.ReadFile(found[0])
				require.NoError(t, err)
				require.True(t, bytes.Equal(was, now), "the old log is as it was")
				p.kill()
			}
		})
	}
}
