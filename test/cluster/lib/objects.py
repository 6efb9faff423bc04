# SPDX-License-Identifier: Apache-2.0
"""Kubernetes objects as the tests write them: short calls, complete objects. Slices are v1beta1, which the 1.20 API server serves."""


def service(name, cluster_ip, *ports, namespace="default", **spec):
    """ports: (name, protocol, port) or (name, protocol, port, node port)."""
    spec_ports = []
    for port_name, protocol, port, *node_port in ports:
        entry = {"name": port_name, "protocol": protocol, "port": port, "targetPort": 8080}
        if node_port:
            entry["nodePort"] = node_port[0]
        spec_ports.append(entry)
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": cluster_ip, "ports": spec_ports, **spec}}


def endpoint_slice(name, ports, endpoints, namespace="default", suffix="x", family="IPv4", version="v1beta1"):
    """ports: (name, protocol, number); endpoints: (address, node) or (address, node, conditions)."""
    entries = []
    for address, node, *conditions in endpoints:
        entry = {"addresses": [address], "conditions": conditions[0] if conditions else {"ready": True}}
        if version == "v1beta1":
            entry["topology"] = {"kubernetes.io/hostname": node}
        else:
            entry["nodeName"] = node
        entries.append(entry)
    return {"apiVersion": f"discovery.k8s.io/{version}", "kind": "EndpointSlice", "addressType": family,
            "metadata": {"name": f"{name}-{suffix}", "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
            "endpoints": entries, "ports": [{"name": n, "protocol": protocol, "port": number} for n, protocol, number in ports]}


def with_ingress(plane, name, *addresses, namespace="default"):
    """Sets status.loadBalancer.ingress as a cloud's controller would; kubectl 1.20 has no verb for it."""
    connection = plane.connect()
    path = f"/api/v1/namespaces/{namespace}/services/{name}"
    current = plane.request(connection, "GET", path)
    current["status"] = {"loadBalancer": {"ingress": [{"ip": a} for a in addresses]}}
    plane.request(connection, "PUT", f"{path}/status", current)
    connection.close()
