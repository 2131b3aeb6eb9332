package istio

// Reasons why fields change nothing here.
const (
	noServer  = "the API server writes it"
	oneNode   = "the lab is one node"
	noStorage = "the lab's apps keep nothing on disks"
	noLimits  = "the lab limits no resources"
	noKernel  = "the lab's apps run without containers"
	noProbes  = "a bundled app is ready when it listens; annotation mesh-lab.dev/ready changes that"
	atOnce    = "pods come and go at once"
	bundled   = "the image names a bundled app, which starts in its own way"
	noNodes   = "clients from outside enter by gateways"
)

// kubernetesFields decides on k8s.io/api. Whatever a request could notice is carried out or
// refused.
var kubernetesFields = fieldTable{
	"meta/v1.ObjectMeta": rules(
		carried("name namespace labels annotations creationTimestamp"),
		noEffect(noServer, `selfLink uid resourceVersion generation managedFields ownerReferences
			finalizers deletionGracePeriodSeconds`),
		notYet("write a name", "generateName"),
		notYet("remove it, or the object", "deletionTimestamp"),
	),
	"meta/v1.LabelSelector":            rules(carried("matchLabels matchExpressions")),
	"meta/v1.LabelSelectorRequirement": rules(carried("key operator values")),

	"core/v1.Namespace": object("spec"),
	"core/v1.NamespaceSpec": rules(
		noEffect(noServer, "finalizers"),
	),
	"core/v1.Service": object("spec"),
	"core/v1.ServiceSpec": rules(
		carried(`ports selector clusterIP clusterIPs ipFamilies type externalName
			publishNotReadyAddresses trafficDistribution`),
		noEffect(noNodes, `loadBalancerIP loadBalancerSourceRanges externalTrafficPolicy
			healthCheckNodePort allocateLoadBalancerNodePorts loadBalancerClass`),
		noEffect("sidecars balance for themselves; use consistentHash in a DestinationRule",
			"sessionAffinity sessionAffinityConfig"),
		noEffect("the lab's addresses are IPv4", "ipFamilyPolicy"),
		noEffect(oneNode, "internalTrafficPolicy"),
		notYet("", "externalIPs"),
	),
	"core/v1.ServicePort": rules(
		carried("name protocol appProtocol port targetPort"),
		noEffect(noNodes, "nodePort"),
	),
	"core/v1.ServiceAccount": rules(
		carried("kind apiVersion metadata"),
		noEffect("the lab has no API server for pods to ask",
			"secrets imagePullSecrets automountServiceAccountToken"),
	),
	"core/v1.Secret":    rules(carried("kind apiVersion metadata data stringData type immutable")),
	"core/v1.ConfigMap": rules(carried("kind apiVersion metadata data binaryData immutable")),

	"core/v1.Endpoints":      rules(carried("kind apiVersion metadata subsets")),
	"core/v1.EndpointSubset": rules(carried("addresses notReadyAddresses ports")),
	"core/v1.EndpointAddress": rules(
		carried("ip hostname targetRef"),
		noEffect(oneNode, "nodeName"),
	),
	"core/v1.EndpointPort": rules(carried("name port protocol appProtocol")),
	"core/v1.ObjectReference": rules(
		carried("kind namespace name"),
		noEffect(noServer, "uid apiVersion resourceVersion fieldPath"),
	),
	"discovery/v1.EndpointSlice": rules(
		carried("kind apiVersion metadata endpoints ports"),
		notYetUnless("IPv4", "", "addressType"),
	),
	"discovery/v1.Endpoint": rules(
		carried("addresses conditions hostname targetRef"),
		noEffect(oneNode, "nodeName zone hints deprecatedTopology"),
	),
	"discovery/v1.EndpointConditions": rules(carried("ready serving terminating")),
	"discovery/v1.EndpointPort":       rules(carried("name protocol port appProtocol")),

	"apps/v1.Deployment": object("spec"),
	"apps/v1.DeploymentSpec": rules(
		carried("replicas selector template"),
		noEffect(atOnce, "strategy minReadySeconds revisionHistoryLimit progressDeadlineSeconds"),
		notYetUnless("false", "set replicas to 0", "paused"),
	),
	"apps/v1.ReplicaSet": object("spec"),
	"apps/v1.ReplicaSetSpec": rules(
		carried("replicas selector template"),
		noEffect(atOnce, "minReadySeconds"),
	),
	"apps/v1.StatefulSet": object("spec"),
	"apps/v1.StatefulSetSpec": rules(
		carried("replicas selector template serviceName"),
		noEffect(atOnce, "podManagementPolicy updateStrategy revisionHistoryLimit minReadySeconds"),
		noEffect(noStorage, "volumeClaimTemplates persistentVolumeClaimRetentionPolicy"),
		notYet("", "ordinals"),
	),

	"core/v1.Pod":             object("spec"),
	"core/v1.PodTemplateSpec": rules(carried("metadata spec")),
	"core/v1.PodSpec": rules(
		carried("containers serviceAccountName serviceAccount hostname subdomain volumes"),
		noEffect("init containers end before the app starts", "initContainers"),
		noEffect(bundled, "ephemeralContainers"),
		noEffect(atOnce, "restartPolicy terminationGracePeriodSeconds"),
		noEffect(
			oneNode,
			`nodeSelector nodeName affinity schedulerName tolerations priorityClassName
			priority runtimeClassName preemptionPolicy topologySpreadConstraints schedulingGroup`,
		),
		noEffect(noLimits, "overhead resources resourceClaims"),
		noEffect(noKernel, `hostPID hostIPC shareProcessNamespace securityContext imagePullSecrets
			automountServiceAccountToken enableServiceLinks os hostUsers evictionResponders
			setHostnameAsFQDN hostnameOverride`),
		notYetUnless("false", "", "hostNetwork"),
		notYetUnless(
			"ClusterFirst ClusterFirstWithHostNet",
			"the lab's DNS answers every pod alike",
			"dnsPolicy",
		),
		notYet("the lab's DNS answers every pod alike", "dnsConfig hostAliases"),
		notYet("annotation mesh-lab.dev/ready: \"false\" makes a pod unready",
			"readinessGates schedulingGates activeDeadlineSeconds"),
	),
	"core/v1.Container": rules(
		carried("name image ports env volumeMounts"),
		noEffect(bundled, `command args workingDir imagePullPolicy restartPolicy restartPolicyRules
			lifecycle`),
		noEffect(noProbes, "livenessProbe readinessProbe startupProbe"),
		noEffect(noLimits, "resources resizePolicy"),
		noEffect(noStorage, "volumeDevices"),
		noEffect(noKernel, `terminationMessagePath terminationMessagePolicy securityContext stdin
			stdinOnce tty`),
		notYet("write the variables under env", "envFrom"),
	),
	"core/v1.Volume": rules(
		carried("name secret configMap projected"),
		noEffect(noStorage, `hostPath emptyDir gcePersistentDisk awsElasticBlockStore gitRepo nfs
			iscsi glusterfs persistentVolumeClaim rbd flexVolume cinder cephfs flocker downwardAPI
			fc azureFile vsphereVolume quobyte azureDisk photonPersistentDisk portworxVolume scaleIO
			storageos csi ephemeral image`),
	),
	"core/v1.SecretVolumeSource":    rules(carried("secretName items"), mounted()),
	"core/v1.ConfigMapVolumeSource": rules(carried("name items"), mounted()),
	"core/v1.ProjectedVolumeSource": rules(
		carried("sources"), noEffect(noKernel, "defaultMode defaultUser"),
	),
	"core/v1.VolumeProjection": rules(
		carried("secret configMap"),
		noEffect(noStorage, "downwardAPI serviceAccountToken clusterTrustBundle podCertificate"),
	),
	"core/v1.SecretProjection":    rules(carried("name items"), noEffect(noStorage, "optional")),
	"core/v1.ConfigMapProjection": rules(carried("name items"), noEffect(noStorage, "optional")),
	"core/v1.KeyToPath":           rules(carried("key path"), noEffect(noKernel, "mode user")),
	"core/v1.VolumeMount": rules(
		carried("name mountPath subPath"),
		noEffect(noKernel, `readOnly recursiveReadOnly mountPropagation subPathExpr
			bindMountOptions`),
	),
	"core/v1.ContainerPort": rules(
		carried("name containerPort protocol"),
		noEffect(noNodes, "hostPort hostIP"),
	),
	"core/v1.EnvVar": rules(
		carried("name value"),
		noEffect(
			"no proxy sees it: apps are given fieldRef; other sources are not set, with a warning",
			"valueFrom",
		),
	),
}

// mounted lists what a volume of files says of more than the files.
func mounted() map[string]fieldRule {
	return rules(noEffect(noKernel, "defaultMode defaultUser"), noEffect(noStorage, "optional"))
}

// object makes the entry of a top-level type.
func object(names string) map[string]fieldRule {
	return rules(carried("kind apiVersion metadata "+names), noEffect(noServer, "status"))
}
