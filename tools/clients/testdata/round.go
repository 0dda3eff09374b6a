// The round of calls that a generated client makes. It is compiled together with
// what oapi-codegen makes of the API's document.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
)

func main() {
	if err := round(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("round made")
}

// round creates a key, restricts it, reads it back in every way, and revokes it.
func round(ctx context.Context, server, token string) error {
	c, err := NewClientWithResponses(server, WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+token)
		return nil
	}))
	if err != nil {
		return err
	}
	label := "office"
	list := []Entry{{Entry: "203.0.113.0/24", Label: &label}}
	made, err := c.CreateKeyWithResponse(ctx, NewKey{Name: "billing", Scopes: Scopes{"read"}, Allowlist: &list})
	if err != nil || made.JSON201 == nil {
		return fmt.Errorf("create: %v %s", err, made.Body)
	}
	id := made.JSON201.Id
	if len(made.JSON201.Allowlist) != 1 || made.JSON201.Secret == "" {
		return fmt.Errorf("create: %s", made.Body)
	}
	read, err := c.GetAllowlistWithResponse(ctx, id)
	if err != nil || read.JSON200 == nil || read.JSON200.Entries[0].Entry != "203.0.113.0/24" {
		return fmt.Errorf("read the list: %v %s", err, read.Body)
	}
	etag := read.HTTPResponse.Header.Get("ETag")
	saved, err := c.SetAllowlistWithResponse(ctx, id, &SetAllowlistParams{IfMatch: &etag},
		AllowlistEdit{Entries: append(list, Entry{Entry: "2001:db8::1"})})
	if err != nil || saved.JSON200 == nil || len(saved.JSON200.Entries) != 2 {
		return fmt.Errorf("save the list: %v %s", err, saved.Body)
	}
	again, err := c.SetAllowlistWithResponse(ctx, id, &SetAllowlistParams{IfMatch: &etag}, AllowlistEdit{Entries: list})
	if err != nil || again.StatusCode() != http.StatusPreconditionFailed || again.JSON412 == nil {
		return fmt.Errorf("a lost update: %v %s", err, again.Body)
	}
	bad, err := c.SetAllowlistWithResponse(ctx, id, nil, AllowlistEdit{Entries: []Entry{{Entry: "203.0.113.5/24"}}})
	if err != nil || bad.JSON422 == nil || bad.JSON422.Error.Faults == nil || (*bad.JSON422.Error.Faults)[0].Code != "host_bits_set" {
		return fmt.Errorf("a faulty list: %v %s", err, bad.Body)
	}
	restricted := true
	keys, err := c.ListKeysWithResponse(ctx, &ListKeysParams{Restricted: &restricted})
	if err != nil || keys.JSON200 == nil || keys.JSON200.Total != 1 {
		return fmt.Errorf("list keys: %v %s", err, keys.Body)
	}
	seen, err := c.GetAddressesWithResponse(ctx, id)
	if err != nil || seen.JSON200 == nil {
		return fmt.Errorf("addresses: %v %s", err, seen.Body)
	}
	audit, err := c.ListAuditWithResponse(ctx, &ListAuditParams{Key: &id})
	if err != nil || audit.JSON200 == nil || len(audit.JSON200.Records) != 2 {
		return fmt.Errorf("audit: %v %s", err, audit.Body)
	}
	logs, err := c.ListLogsWithResponse(ctx, &ListLogsParams{Key: &id})
	if err != nil || logs.JSON200 == nil {
		return fmt.Errorf("logs: %v %s", err, logs.Body)
	}
	gone, err := c.RevokeKeyWithResponse(ctx, id, nil)
	if err != nil || gone.StatusCode()/100 != 2 {
		return fmt.Errorf("revoke: %v %s", err, gone.Body)
	}
	return nil
}
