// SPDX-License-Identifier: Apache-2.0

// Kubernetes' own tests of its network, as a program: test/e2e/network of Kubernetes 1.20 and nothing else, with the
// flags of e2e.test. tools/setup/kubernetes.sh puts this file into Kubernetes' source, as test/e2e-network, and builds it there.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"strings"
	"time"

	"github.com/onsi/ginkgo"
	ginkgoconfig "github.com/onsi/ginkgo/config"
	"github.com/onsi/ginkgo/types"
	"github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-base/logs"
	"k8s.io/component-base/version"
	"k8s.io/kubernetes/test/e2e/framework"
	"k8s.io/kubernetes/test/e2e/framework/config"
	e2enode "k8s.io/kubernetes/test/e2e/framework/node"
	e2epod "k8s.io/kubernetes/test/e2e/framework/pod"
	_ "k8s.io/kubernetes/test/e2e/network"
	netutils "k8s.io/utils/net"
)

// Writes a line of JSON for each test that was asked for, once it is over.
type results struct {
	file   *os.File
	failed bool
}

type result struct {
	Test    string  `json:"test"`
	Outcome string  `json:"outcome"` // passed, failed or skipped
	Reason  string  `json:"reason,omitempty"`
	Seconds float64 `json:"seconds"`
}

// Fail is what ginkgo wants of a *testing.T.
func (r *results) Fail() { r.failed = true }

func (r *results) write(line result) {
	text, err := json.Marshal(line)
	if err == nil {
		_, err = fmt.Fprintf(r.file, "%s\n", text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func (r *results) SpecDidComplete(test *types.SpecSummary) {
	outcome := "failed"
	switch {
	case test.Passed():
		outcome = "passed"
	case test.Pending() || test.Skipped() && test.Failure.Message == "":
		return // not asked for
	case test.Skipped():
		outcome = "skipped"
	}
	r.write(result{strings.Join(test.ComponentTexts[1:], " "), outcome, test.Failure.Message, test.RunTime.Seconds()})
}

func (r *results) BeforeSuiteDidRun(setup *types.SetupSummary) {
	if setup.State != types.SpecStatePassed {
		r.write(result{"preparation", "failed", setup.Failure.Message, setup.RunTime.Seconds()})
	}
}

func (r *results) SpecSuiteWillBegin(ginkgoconfig.GinkgoConfigType, *types.SuiteSummary) {}
func (r *results) SpecWillRun(*types.SpecSummary)                                        {}
func (r *results) AfterSuiteDidRun(*types.SetupSummary)                                  {}
func (r *results) SpecSuiteDidEnd(*types.SuiteSummary)                                   {}

// Every node takes pods, those of kube-system are ready, and the tests know the cluster's first family and its number of nodes.
func prepare() {
	client, err := framework.LoadClientset()
	framework.ExpectNoError(err, "no client of the API server")
	framework.ExpectNoError(framework.WaitForAllNodesSchedulable(client, framework.TestContext.NodeSchedulableTimeout))
	nodes, err := e2enode.GetReadySchedulableNodes(client)
	framework.ExpectNoError(err)
	framework.TestContext.CloudConfig.NumNodes = len(nodes.Items)
	framework.ExpectNoError(e2epod.WaitForPodsRunningReady(client, metav1.NamespaceSystem, int32(framework.TestContext.MinStartupPods),
		int32(framework.TestContext.AllowedNotReadyNodes), framework.TestContext.SystemPodsStartupTimeout, map[string]string{}))
	kubernetes, err := client.CoreV1().Services(metav1.NamespaceDefault).Get(context.TODO(), "kubernetes", metav1.GetOptions{})
	framework.ExpectNoError(err)
	framework.TestContext.IPFamily = "ipv4"
	if netutils.IsIPv6String(kubernetes.Spec.ClusterIP) {
		framework.TestContext.IPFamily = "ipv6"
	}
	server, err := client.Discovery().ServerVersion()
	framework.ExpectNoError(err)
	framework.Logf("tests of %s, kube-apiserver %s, %d nodes, %s", version.Get().GitVersion, server.GitVersion, len(nodes.Items),
		framework.TestContext.IPFamily)
}

var _ = ginkgo.BeforeSuite(prepare)
var _ = ginkgo.AfterSuite(framework.RunCleanupActions)

func main() {
	path := flag.String("results", "/dev/stdout", "the file that gets a line of JSON for each test")
	config.CopyFlags(config.Flags, flag.CommandLine)
	framework.RegisterCommonFlags(flag.CommandLine)
	framework.RegisterClusterFlags(flag.CommandLine)
	flag.Parse()
	framework.AfterReadingAllFlags(&framework.TestContext)
	rand.Seed(time.Now().UnixNano())
	logs.InitLogs()

	gomega.RegisterFailHandler(framework.Fail)
	file, err := os.Create(*path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	out := results{file: file}
	ginkgo.RunSpecsWithDefaultAndCustomReporters(&out, "Kubernetes' network", []ginkgo.Reporter{&out})
	logs.FlushLogs()
	if out.failed {
		os.Exit(1)
	}
}
