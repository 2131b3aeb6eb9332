package translate

import (
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
)

// clause is one condition of a rule: one of the values must hold, and none of the others.
type clause[T any] struct {
	values, not []string
	http        bool // it asks about HTTP
	broken      bool // its key can not be read

	one  func(string) *T   // what a value asks for, or
	many func([]string) *T // what values ask for together
}

// logic combines conditions of one sort.
type logic[T any] struct {
	any func() *T
	and func([]*T) *T
	or  func([]*T) *T
	not func(*T) *T
}

// all joins clauses; it is false where they can not hold.
func (l logic[T]) all(clauses []clause[T], w *ruleWriter) (*T, bool) {
	var parts []*T
	for _, c := range clauses {
		if len(c.values) == 0 && len(c.not) == 0 {
			continue
		}
		if c.broken || w.tcp && c.http {
			if w.allow {
				return nil, false
			}
			continue
		}
		if len(c.values) > 0 {
			parts = append(parts, l.some(c, c.values))
		}
		if len(c.not) > 0 {
			parts = append(parts, l.not(l.some(c, c.not)))
		}
	}
	if len(parts) == 0 {
		parts = append(parts, l.any())
	}
	return l.and(parts), true
}

// some asks for one of the values.
func (l logic[T]) some(c clause[T], values []string) *T {
	if c.many != nil {
		return c.many(values)
	}
	var parts []*T
	for _, v := range values {
		parts = append(parts, c.one(v))
	}
	return l.or(parts)
}

// permissions combines conditions on what is asked for.
var permissions = logic[rbacv3.Permission]{
	any: func() *rbacv3.Permission {
		return &rbacv3.Permission{Rule: &rbacv3.Permission_Any{Any: true}}
	},
	and: func(list []*rbacv3.Permission) *rbacv3.Permission {
		set := &rbacv3.Permission_Set{Rules: list}
		return &rbacv3.Permission{Rule: &rbacv3.Permission_AndRules{AndRules: set}}
	},
	or: func(list []*rbacv3.Permission) *rbacv3.Permission {
		set := &rbacv3.Permission_Set{Rules: list}
		return &rbacv3.Permission{Rule: &rbacv3.Permission_OrRules{OrRules: set}}
	},
	not: func(p *rbacv3.Permission) *rbacv3.Permission {
		return &rbacv3.Permission{Rule: &rbacv3.Permission_NotRule{NotRule: p}}
	},
}

// principals combines conditions on who asks.
var principals = logic[rbacv3.Principal]{
	any: func() *rbacv3.Principal {
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_Any{Any: true}}
	},
	and: func(list []*rbacv3.Principal) *rbacv3.Principal {
		set := &rbacv3.Principal_Set{Ids: list}
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_AndIds{AndIds: set}}
	},
	or: func(list []*rbacv3.Principal) *rbacv3.Principal {
		set := &rbacv3.Principal_Set{Ids: list}
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_OrIds{OrIds: set}}
	},
	not: func(p *rbacv3.Principal) *rbacv3.Principal {
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_NotId{NotId: p}}
	},
}
