#!/usr/bin/env bash
# The zoo of README "Networks from a zoo": four data sets, three of them from the hosts of the README's own studies.
#
#   bash scripts/zoo_of_the_readme.sh DIR [4] [501] [502] [508]
#
# Needs nnU-Net's three folders, the planned and preprocessed data sets, and the hosts of seed 0 that bench_dice.py (4
# and 501) and bench_probe.py (508) trained with the README's commands; PLANS_4 etc. name their plans if they were given
# another --tag. A killed build goes on.
set -euo pipefail

zoo=${1:?expected the folder of the zoo}
shift
known=(4 501 502 508)
[ $# -gt 0 ] || set -- "${known[@]}"

host_of() { # data set, plans
    echo "$nnUNet_results/$1/nnUNetTrainerIACHost__$2__2d/fold_0/checkpoint_final.pth"
}

for number in "$@"; do
    common=(-c 2d -f 0 --zoo "$zoo" --iterations 20 --candidates 24 --measured 48 --features 128 --seed 0 --device cpu --c)
    case $number in
    4) plans=${PLANS_4:-nnUNetPlans_bench_seed0} name=Dataset004_Hippocampus epochs=(0 2 14) ;;
    501) plans=${PLANS_501:-nnUNetPlans_bench_seed0} name=Dataset501_ACDC epochs=(0 1 20) ;;
    508) plans=${PLANS_508:-nnUNetPlans_probed_seed0} name=Dataset508_DSB18nuclei epochs=(0 1 8) ;;
    502) plans=nnUNetPlans name='' epochs=(8 1 8) ;;
    *) echo "data set: expected some of ${known[*]}, got $number" >&2 && exit 2 ;;
    esac
    more=(-p "$plans" --full-epochs "${epochs[0]}" --depth-epochs "${epochs[1]}" --width-epochs "${epochs[2]}")
    if [ -n "$name" ]; then
        more+=(--host "$(host_of "$name" "$plans")")
    else
        more+=(--patch-size 96 96 --batch-size 4)
    fi
    nnunet-iac zoo build -d "$number" "${common[@]}" "${more[@]}"
done
