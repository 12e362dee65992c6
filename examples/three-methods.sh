#!/usr/bin/env bash
# FedAvg, FedProx and SCAFFOLD on the same cohorts and batches, three seeds each: nine runs of the default experiment and one
# plot, docs/three-methods.svg.
#
#   examples/three-methods.sh COLLA_HOST FOLDER
#
# COLLA_HOST: the binary, such as target/release/colla-host. FOLDER: where runs and plot go; new or empty.
set -euo pipefail

[ $# -eq 2 ] || { echo "usage: examples/three-methods.sh COLLA_HOST FOLDER" >&2; exit 2; }
host=$1 folder=$2

for seed in 1 2 3; do
  "$host" --quiet --seed $seed --out "$folder/fedavg-$seed"
  "$host" --quiet --seed $seed --plugin fedprox:mu=0.1 --out "$folder/fedprox-$seed"
  "$host" --quiet --seed $seed --plugin scaffold --out "$folder/scaffold-$seed"
done

# One named run names its series.
"$host" compare FedAvg="$folder/fedavg-1" "$folder"/fedavg-[23] \
  FedProx="$folder/fedprox-1" "$folder"/fedprox-[23] \
  SCAFFOLD="$folder/scaffold-1" "$folder"/scaffold-[23] \
  --target 0.9 --from 10 --out "$folder/three-methods.svg"
