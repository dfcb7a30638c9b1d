exec(open('/tmp/moon/der.py').read())
for n,rn in SETS:
    r,h=heard(n)
    for cl in (Clustering(fa=.07,merge=2),Clustering()):
        a,x,c=speakers(h,r,cl)
        print(n,'DER %.1f conf %.1f miss %.1f fa %.1f'%score(a,rn,r.length/16000),'spk',len(c),flush=True)
