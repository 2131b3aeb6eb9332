package reports

// Exactly tells a reader what --exact did, a line for each thing.
func Exactly(x *Exactness) []string {
	out := []string{"exact  weights, faults and mirrors are enumerated, not drawn; " +
		"which pod of a cluster is asked stays the load balancer's choice"}
	if len(x.Altered) > 0 {
		out = append(out, "exact  this altered what the proxies were given:")
		for _, l := range x.Altered {
			out = append(out, "         "+l)
		}
	} else {
		out = append(out, "exact  what the proxies were given is as it always is:")
		for _, l := range x.Enumerated {
			out = append(out, "         "+l)
		}
	}
	for _, l := range x.Random {
		out = append(out, "exact  random still: "+l)
	}
	return out
}
