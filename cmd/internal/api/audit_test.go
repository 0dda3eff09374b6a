package api

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/manage"
)

type auditPage struct {
	Records []auditView `json:"records"`
	Next    string      `json:"next"`
}

func (w *world) audit(query string) auditPage {
	w.t.Helper()
	var page auditPage
	w.get("/api/v1/audit"+query).ok(200, &page)
	return page
}

// TestAudit makes one change of each kind and reads who made it, when, and the
// state before and after.
func TestAudit(t *testing.T) {
	w := newWorld(t)
	require.Contains(t, w.get("/api/v1/audit").text, `{"records":[],"next":""}`)
	var made createdView
	w.do(call{method: "POST", path: "/api/v1/keys", by: "203.0.113.77", body: object{
		"name": "a", "scopes": []string{"read"}, "allowlist": entries("203.0.113.0/24 office"),
	}}).ok(201, &made)
	path := "/api/v1/keys/" + made.ID
	w.do(call{method: "PATCH", path: path, body: `{"name":"b"}`}).ok(200, nil)
	w.post(path+"/rotate", nil).ok(200, nil)
	w.put(made.ID, object{"entries": entries("198.51.100.7")}).ok(200, nil)
	w.do(call{method: "DELETE", path: path}).ok(200, nil)
	w.create("other")

	records := w.audit("?key=" + made.ID).Records
	require.Len(t, records, 5)
	want := []manage.Action{manage.ActionRevoke, manage.ActionList, manage.ActionRotate, manage.ActionEdit, manage.ActionCreate}
	for i, rec := range records {
		require.Equal(t, want[i], rec.Action)
		require.Equal(t, "token", rec.Actor)
		require.Equal(t, made.ID, rec.KeyID)
		require.WithinDuration(t, time.Now(), rec.Time, time.Minute)
		if i > 0 {
			require.Less(t, rec.ID, records[i-1].ID)
		}
	}
	require.Equal(t, "203.0.113.77", records[4].Address.String())
	require.Equal(t, "127.0.0.1", records[0].Address.String())

	require.Nil(t, records[4].Before)
	require.Equal(t, &manage.AuditState{
		Name: "a", Scopes: []string{"read"}, Allowlist: []manage.ListEntry{{Entry: "203.0.113.0/24", Label: "office"}},
	}, records[4].After)
	require.Equal(t, "a", records[3].Before.Name)
	require.Equal(t, "b", records[3].After.Name)
	require.Equal(t, []manage.ListEntry{{Entry: "203.0.113.0/24", Label: "office"}}, records[1].Before.Allowlist)
	require.Equal(t, []manage.ListEntry{{Entry: "198.51.100.7/32"}}, records[1].After.Allowlist)
	require.False(t, records[0].Before.Revoked)
	require.True(t, records[0].After.Revoked)

	// In pages.
	var ids []int64
	for next := ""; ; {
		query := "?limit=4"
		if next != "" {
			query += "&cursor=" + next
		}
		page := w.audit(query)
		for _, rec := range page.Records {
			ids = append(ids, rec.ID)
		}
		if next = page.Next; next == "" {
			break
		}
	}
	require.Len(t, ids, 6)
	require.IsDecreasing(t, ids)
	w.get("/api/v1/audit?cursor=x").fails(400, "INVALID_QUERY")
	require.Empty(t, w.audit("?key=aaaaaaaaaaaaaaaa").Records)
}
