package istio

// Merge returns base with the objects of add, as kubectl apply makes it: an object that is there
// already keeps its age and gets the new content.
func Merge(base, add *Config) *Config {
	out := &Config{Mesh: base.Mesh, meshFrom: base.meshFrom}
	if add.meshFrom != meshDefault && add.meshFrom >= base.meshFrom {
		out.Mesh, out.meshFrom = add.Mesh, add.meshFrom
	}
	out.Objects = append(out.Objects, base.Objects...)
	index := map[identity]int{}
	next := 0
	for i, o := range base.Objects {
		index[o.identity()] = i
		next = max(next, o.Order+1)
	}
	for _, o := range add.Objects {
		merged := *o
		if i, ok := index[o.identity()]; ok {
			merged.Created, merged.Order = out.Objects[i].Created, out.Objects[i].Order
			out.Objects[i] = &merged
			continue
		}
		merged.Order = next
		next++
		index[o.identity()] = len(out.Objects)
		out.Objects = append(out.Objects, &merged)
	}
	return out
}

// Remove returns base without the objects that del names. What is not there is no error.
func Remove(base, del *Config) *Config {
	out := &Config{Mesh: base.Mesh, meshFrom: base.meshFrom}
	gone := map[identity]bool{}
	for _, o := range del.Objects {
		gone[o.identity()] = true
	}
	for _, o := range base.Objects {
		if !gone[o.identity()] {
			out.Objects = append(out.Objects, o)
		}
	}
	if out.meshFrom == meshConfigMap && findMeshConfig(out.Objects) == nil {
		out.Mesh, out.meshFrom = DefaultMeshConfig(), meshDefault
	}
	return out
}

func (o *Object) identity() identity {
	group, _ := splitVersion(o.APIVersion)
	return identity{group, o.Kind, o.Namespace, o.Name}
}
