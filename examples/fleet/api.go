package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// A manager calls the management API of a node.
type manager struct {
	node *daemon
	http *http.Client
}

func newManager(node *daemon) *manager {
	return &manager{node: node, http: &http.Client{
		Timeout:   15 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 64},
	}}
}

// An apiError is an answer that is no success.
type apiError struct {
	status int
	body   string
}

func (e *apiError) Error() string {
	return fmt.Sprintf("the management API answered %d: %s", e.status, e.body)
}

// call makes one request. It decodes the answer into into, if that is not nil.
func (m *manager) call(ctx context.Context, method, path string, body, into any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, m.node.url("settings")+"/api/v1"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := m.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= 300:
		return &apiError{resp.StatusCode, string(answer)}
	case into == nil:
		return nil
	}
	return json.Unmarshal(answer, into)
}

type apiEntry struct {
	Entry string `json:"entry"`
	Label string `json:"label"`
}

// create makes a key that may read, with a list of one entry.
func (m *manager) create(ctx context.Context, name, entry string) (id, secret string, err error) {
	var k struct{ ID, Secret string }
	err = m.call(ctx, http.MethodPost, "/keys", map[string]any{
		"name": name, "scopes": []string{"read"}, "allowlist": []apiEntry{{entry, "office"}},
	}, &k)
	return k.ID, k.Secret, err
}

// allow replaces a key's list by one entry. When it returns without an error,
// the change is acknowledged.
func (m *manager) allow(ctx context.Context, id, entry string) error {
	return m.call(ctx, http.MethodPut, "/keys/"+id+"/allowlist?wait=0s", map[string]any{
		"entries": []apiEntry{{entry, "office"}}, "confirm_lockout": true,
	}, nil)
}

// allowed returns the one entry of a key's list.
func (m *manager) allowed(ctx context.Context, id string) (string, error) {
	var list struct{ Entries []apiEntry }
	if err := m.call(ctx, http.MethodGet, "/keys/"+id+"/allowlist", nil, &list); err != nil {
		return "", err
	}
	if len(list.Entries) != 1 {
		return "", fmt.Errorf("key %s has %d entries, and had one", id, len(list.Entries))
	}
	return list.Entries[0].Entry, nil
}

// revoke ends a key.
func (m *manager) revoke(ctx context.Context, id string) error {
	return m.call(ctx, http.MethodDelete, "/keys/"+id+"?wait=0s", nil, nil)
}

// records returns how often each request is in the exported usage log.
func (m *manager) records(ctx context.Context) (map[string]int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.node.url("settings")+"/api/v1/logs.csv", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	resp, err := (&http.Client{}).Do(req) // an export may take long
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &apiError{resp.StatusCode, "the export"}
	}
	rows := csv.NewReader(resp.Body)
	rows.ReuseRecord = true
	head, err := rows.Read()
	if err != nil {
		return nil, err
	}
	if len(head) < 2 || head[1] != "request_id" {
		return nil, fmt.Errorf("the export begins with %q", head)
	}
	ids := make(map[string]int)
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return ids, nil
		}
		if err != nil {
			return nil, err
		}
		ids[row[1]]++
	}
}
